package gpu

import (
	"io"
	"log/slog"
	"testing"

	"github.com/catenary-run/catenary/gpu/gpuv1"
)

// A worker may say that it is ready before anybody waits for it, or twice.
func TestLines_Saw(t *testing.T) {
	l := newLines(slog.New(slog.DiscardHandler))
	early := l.saw(gpuv1.Ready)
	for _, part := range []string{"before\n", gpuv1.Ready[:2], gpuv1.Ready[2:]} {
		_, _ = io.WriteString(l, part)
	}
	select {
	case <-early:
		t.Error("seen before its line has ended")
	default:
	}
	_, _ = io.WriteString(l, "\n"+gpuv1.Ready+"\n")
	for when, seen := range map[string]<-chan struct{}{"before": early, "after": l.saw(gpuv1.Ready)} {
		select {
		case <-seen:
		default:
			t.Errorf("whoever asked %s the line was written does not see it", when)
		}
	}
}
