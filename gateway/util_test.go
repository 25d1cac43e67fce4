package gateway

import (
	"net/http/httptest"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
	"github.com/prometheus/client_golang/prometheus"
)

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

// audioItem is an item of one audio.
func audioItem(t *testing.T, a functions.Attachment) *catenaryv1.Item {
	t.Helper()
	b, err := value.Encode(functions.Audio{Blob: a.Blob, SampleHz: 16000, Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	return catenaryv1.NewItem(functions.Item{Value: b, Blobs: []functions.Attachment{a}})
}

func newRegistry() *prometheus.Registry { return prometheus.NewRegistry() }
