package gateway

import (
	"encoding/base64"
	"errors"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/value"
	catenaryv1 "github.com/catenary-run/catenary/gateway/catenary/v1"
)

// inputSchemas are the forms of input that the doors tell apart.
var inputSchemas = []*functions.Schema{
	functions.SchemaFor[string](), functions.SchemaFor[Question](), functions.SchemaFor[functions.Audio](), functions.SchemaFor[functions.Blob](),
	functions.SchemaFor[Measure](), functions.SchemaFor[[]Question](), functions.SchemaFor[map[string]functions.Blob](), {},
}

// FuzzParseBody checks that whatever a body holds, it becomes a value of the schema with its blobs, or an error of the
// caller.
func FuzzParseBody(f *testing.F) {
	file := tone(16000, 4)
	for i := range inputSchemas {
		f.Add(i, "application/json", []byte(`{"text":"x"}`))
		f.Add(i, "application/json", []byte(`{"data":"`+base64.StdEncoding.EncodeToString(file)+`","type":"audio/wav"}`))
		f.Add(i, "application/json", []byte(`{"blob":"`+string(functions.DigestOf(file))+`","type":"audio/wav"}`))
		f.Add(i, "text/plain; charset=utf-8", []byte("hi"))
		f.Add(i, "audio/wav", file)
		f.Add(i, "audio/mpeg", file[:20])
	}
	f.Add(0, "text/plain; charset=\"", []byte("\xff"))
	f.Fuzz(func(t *testing.T, which int, contentType string, body []byte) {
		schema := inputSchemas[uint(which)%uint(len(inputSchemas))]
		kind, mediaType, err := kindOf(schema, contentType)
		if err != nil {
			if !errors.Is(err, functions.ErrInvalid) {
				t.Fatalf("kindOf: %v", err)
			}
			return
		}
		v, blobs, err := parseBody(schema, kind, mediaType, body, func(d functions.Digest) ([]byte, error) {
			if d != functions.DigestOf(file) {
				return nil, functions.ErrNotFound
			}
			return file, nil
		})
		if err != nil {
			if !errors.Is(err, functions.ErrInvalid) && !errors.Is(err, functions.ErrNotFound) {
				t.Fatalf("parseBody: %v", err)
			}
			return
		}
		if err := value.Check(schema, v); err != nil {
			t.Fatalf("a value that does not fit its schema: %v", err)
		}
		refs, err := value.Blobs(schema, v)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range blobs {
			found := false
			for _, r := range refs {
				found = found || r.Digest == a.Digest
			}
			if !found || functions.DigestOf(a.Data) != a.Digest || a.Size != int64(len(a.Data)) {
				t.Fatalf("blob %v does not belong to the value", a.Blob)
			}
		}
	})
}

// FuzzDeploy checks that no bundle makes the parser panic, and that what it accepts is valid.
func FuzzDeploy(f *testing.F) {
	m := testFunctions(newGate())[0].Manifest
	f.Add(m.Canonical(), []byte(`{"name":"llm","engine":"llama"}`), single("shout").Canonical(), "step")
	f.Add([]byte(`{}`), []byte(`null`), []byte(`{"steps":[{"cases":[{}]}]}`), "/0")
	f.Fuzz(func(t *testing.T, manifest, model, chain []byte, pos string) {
		b, err := parseBundle(&catenaryv1.DeployRequest{
			Manifests: [][]byte{manifest}, Models: [][]byte{model},
			Chains: []*catenaryv1.ChainSpec{{Json: chain, Positions: map[string]string{pos: "a:1:1"}}},
		})
		if err != nil {
			return
		}
		for _, m := range b.manifests {
			if err := m.Validate(); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range b.chains {
			if err := functions.CheckName("chain", c.Name); err != nil {
				t.Fatal(err)
			}
		}
	})
}
