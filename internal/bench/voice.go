package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/catenary-run/catenary/internal/process"
	"github.com/catenary-run/catenary/internal/spoken"
	"github.com/catenary-run/catenary/sdk/client"
)

const (
	voiceDir      = "examples/voice"
	questionsDir  = voiceDir + "/questions"
	llamaLib      = ".build/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64"
	voiceRounds   = 5 // servers that are started anew
	warmPerServer = 4
	accepted      = 0.35 // of the chain's route
)

// voiceServer is a server that has the voice example deployed, and whose data outlive it.
type voiceServer struct {
	dir, binary string
	server      *process.Server
	client      *client.Client
}

// newVoice builds the binary and the example, and deploys it.
func newVoice(ctx context.Context) (*voiceServer, error) {
	dir, err := os.MkdirTemp("", "catenary-bench-")
	if err != nil {
		return nil, err
	}
	v := &voiceServer{dir: dir, binary: filepath.Join(dir, "catenary")}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", v.binary, "./cmd/catenary")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := build.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("go build: %w\n%s", err, msg), v.close())
	}
	if err := v.start(); err != nil {
		return nil, errors.Join(err, v.close())
	}
	for _, args := range [][]string{{"build", voiceDir}, {"deploy", "--server", v.server.URL, voiceDir}} {
		if msg, err := exec.CommandContext(ctx, v.binary, args...).CombinedOutput(); err != nil {
			return nil, errors.Join(fmt.Errorf("catenary %s: %w\n%s", args[0], err, msg), v.close())
		}
	}
	return v, nil
}

func (v *voiceServer) start() (err error) {
	v.server, err = process.Start(v.binary, "serve", "--addr", "127.0.0.1:0", "--data", filepath.Join(v.dir, "data"), "--llama-lib", llamaLib)
	if err != nil {
		return err
	}
	v.client, err = client.New(v.server.URL)
	return err
}

func (v *voiceServer) restart() error {
	if err := v.server.Stop(syscall.SIGTERM); err != nil {
		return err
	}
	return v.start()
}

func (v *voiceServer) close() error {
	var err error
	if v.server != nil {
		err = v.server.Stop(syscall.SIGTERM)
	}
	return errors.Join(err, os.RemoveAll(v.dir))
}

// memory returns what the server holds, and what its children hold.
func (v *voiceServer) memory() (server, children float64, err error) {
	own, err := process.RSS(v.server.Cmd.Process.Pid)
	if err != nil {
		return 0, 0, err
	}
	below, err := v.server.Descendants()
	if err != nil {
		return 0, 0, err
	}
	var sum int64
	for _, p := range below {
		rss, err := process.RSS(p.PID)
		if err != nil {
			return 0, 0, err
		}
		sum += rss
	}
	return float64(own) / (1 << 20), float64(sum) / (1 << 20), nil
}

// benchVoice asks a short question of a server that has just started, so that every step is cold, and then again.
func benchVoice(ctx context.Context, rec *recorder) error {
	v, err := newVoice(ctx)
	if err != nil {
		return err
	}
	defer v.close()
	speech, err := os.ReadFile(filepath.Join(questionsDir, "q09.wav"))
	if err != nil {
		return err
	}
	for range voiceRounds {
		start := time.Now()
		if err := v.restart(); err != nil {
			return err
		}
		rec.Took("server: stop, start, listen", time.Since(start))
		server, _, err := v.memory()
		if err != nil {
			return err
		}
		rec.Add("memory: server that was just started", "MiB", server)
		if err := v.ask(ctx, rec, "cold", speech); err != nil {
			return err
		}
		for range warmPerServer {
			if err := v.ask(ctx, rec, "warm", speech); err != nil {
				return err
			}
		}
		server, children, err := v.memory()
		if err != nil {
			return err
		}
		rec.Add("memory: server, warm", "MiB", server)
		rec.Add("memory: plugin and worker, warm", "MiB", children)
	}
	rec.ratio("cold / warm: to the first audio", "cold: to the first audio", "warm: to the first audio")
	return nil
}

func (v *voiceServer) ask(ctx context.Context, rec *recorder, how string, speech []byte) error {
	start := time.Now()
	a, err := spoken.Ask(ctx, v.client, speech)
	if err != nil {
		return err
	}
	rec.Took(how+": whole answer, as the caller sees it", time.Since(start))
	rec.Took(how+": to the first audio", a.Timings["speak"].Start+a.Timings["speak"].FirstItem)
	for _, step := range []string{"resample-clip", "transcribe", "answer", "speak"} {
		t := a.Timings[step]
		rec.Took(how+": "+step+", wake", t.Wake)
		rec.Took(how+": "+step+", first item", t.FirstItem)
	}
	return nil
}

// benchConfidence counts what the route of the voice chain gets wrong: questions that it refuses, nonsense that it lets
// through.
func benchConfidence(ctx context.Context, rec *recorder) error {
	v, err := newVoice(ctx)
	if err != nil {
		return err
	}
	defer v.close()
	for _, list := range []struct {
		arm    string
		names  []string
		counts func(refused bool) bool
	}{
		{"questions refused", []string{"questions", "more"}, func(refused bool) bool { return refused }},
		{"nonsense accepted", []string{"nonsense"}, func(refused bool) bool { return !refused }},
	} {
		var counted, all int
		for _, name := range list.names {
			questions, err := spoken.Questions(questionsDir, name)
			if err != nil {
				return err
			}
			for _, q := range questions {
				speech, err := os.ReadFile(q.WAV)
				if err != nil {
					return err
				}
				heard, err := spoken.Listen(ctx, v.client, speech)
				if err != nil {
					return fmt.Errorf("%s: %w", q.ID, err)
				}
				all++
				if list.counts(heard.Text == "" || heard.Confidence < accepted) {
					counted++
				}
				rec.Add("confidence of "+name, "0 to 1", heard.Confidence)
			}
		}
		rec.Add(fmt.Sprintf("%s, of %d", list.arm, all), "%", 100*float64(counted)/float64(all))
	}
	return nil
}
