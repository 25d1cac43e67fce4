package gpu

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/gpu/gpuv1"
)

// BenchmarkReal measures through the worker's process, as a caller sees it.
func BenchmarkReal(b *testing.B) {
	models := catalogue{}
	llm := models.add("llm", tinyFile(b))

	b.Run("cold", func(b *testing.B) { // no worker: to the first token
		b.ReportAllocs()
		for b.Loop() {
			r := startReal(b, models, nil)
			firstToken(b, r.Runtime, llm)
			b.StopTimer()
			r.stop()
			b.StartTimer()
		}
	})

	r := startReal(b, models, nil)
	if err := r.Wake(b.Context(), llm); err != nil {
		b.Fatal(err)
	}
	b.Run("hot", func(b *testing.B) { // to the first token
		b.ReportAllocs()
		for b.Loop() {
			firstToken(b, r.Runtime, llm)
		}
	})
	b.Run("answer", func(b *testing.B) {
		b.ReportAllocs()
		tokens := 0
		for b.Loop() {
			_, n, err := answerOf(b.Context(), r.Runtime, llm, ask("tell me a story about a fox"))
			if err != nil {
				b.Fatal(err)
			}
			tokens += n
		}
		b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tok/s")
	})
	b.Run("park+wake", func(b *testing.B) { // as the worker itself reports them
		b.ReportAllocs()
		var park, wake int64
		for b.Loop() {
			p, err := r.local.worker.client.Park(b.Context(), &gpuv1.ParkRequest{Id: string(llm.Digest)})
			if err != nil {
				b.Fatal(err)
			}
			w, err := r.local.worker.client.Wake(b.Context(), &gpuv1.WakeRequest{Id: string(llm.Digest)})
			if err != nil {
				b.Fatal(err)
			}
			park += p.GetResidency().GetNanos()
			wake += w.GetResidency().GetNanos()
		}
		b.ReportMetric(float64(park)/float64(b.N)/1e6, "park-ms")
		b.ReportMetric(float64(wake)/float64(b.N)/1e6, "wake-ms")
		b.ReportMetric(rssMB(b, r.last.Load()), "worker-rss-MB")
	})
	b.Run("prepare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			// A new one each time, over all runs: one that was tried is not tried again.
			fresh := models.add("llm-"+strconv.Itoa(len(models)), tinyFile(b))
			if err := r.Prepare(b.Context(), fresh); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func firstToken(b *testing.B, r *Runtime, ref functions.Ref) {
	b.Helper()
	tokens, err := r.Generate(b.Context(), ref, ask("what is the capital of france"))
	if err != nil {
		b.Fatal(err)
	}
	defer tokens.Close()
	if _, err := tokens.Recv(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func rssMB(b *testing.B, cmd *exec.Cmd) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
	if err != nil {
		return 0 // not Linux
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	kb, err := strconv.ParseFloat(strings.Fields(after)[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return kb / 1024
}
