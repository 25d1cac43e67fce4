// Command demo asks two spoken questions through the whole system: it starts a server, builds and deploys the voice
// example, and prints what is heard, what is answered as it comes, and what each step took. `make demo` runs it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/catenary-run/catenary/examples/functions/voice"
	"github.com/catenary-run/catenary/examples/voice/chain"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sdk/client"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("demo: ")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer) error {
	d := demo{out: out}
	flag.StringVar(&d.binary, "catenary", ".build/catenary", "the catenary `binary`")
	flag.StringVar(&d.data, "data", ".build/demo", "`folder` for the server's data; what it holds makes the next run quick")
	flag.StringVar(&d.llama, "llama-lib", ".build/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64", "`folder` of libllama")
	flag.StringVar(&d.project, "project", "examples/voice", "`folder` of the voice example")
	answer := flag.String("out", "answer.wav", "`file` for the first answer")
	flag.Parse()

	fmt.Fprintln(out, "# Build and deploy")
	if err := d.withServer(ctx, d.deploy); err != nil {
		return err
	}
	// A new server has nothing in memory: the first question finds every step cold.
	return d.withServer(ctx, func(ctx context.Context, s *server) error {
		c, err := client.New(s.url)
		if err != nil {
			return err
		}
		cold, err := d.ask(ctx, c, "First question, all steps cold", "q01.wav")
		if err != nil {
			return err
		}
		if err := os.WriteFile(*answer, cold.speech, 0o644); err != nil {
			return err
		}
		if err := d.listen(ctx, c, *answer, cold.speech); err != nil {
			return err
		}
		warm, err := d.ask(ctx, c, "Second question, all steps warm", "q09.wav")
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "\n# Cold beside warm")
		compare(out, cold, warm)
		return nil
	})
}

type demo struct {
	out                          io.Writer
	binary, data, llama, project string
}

// deploy builds the example and sends it to the server.
func (d *demo) deploy(ctx context.Context, s *server) error {
	for _, args := range [][]string{{"build", d.project}, {"deploy", "--server", s.url, d.project}} {
		cmd := exec.CommandContext(ctx, d.binary, args...)
		cmd.Stdout, cmd.Stderr = d.out, d.out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("catenary %s: %w", args[0], err)
		}
	}
	return nil
}

// reply is the whole answer to a question.
type reply struct {
	speech     []byte        // one wav
	firstAudio time.Duration // from the question to the first sentence of speech, as the caller hears it
	timings    []client.Timing
	wakes      []wake
}

// ask sends a spoken question and prints what comes back as it comes.
func (d *demo) ask(ctx context.Context, c *client.Client, title, question string) (reply, error) {
	var r reply
	fmt.Fprintf(d.out, "\n# %s (%s)\n", title, question)
	speech, err := os.ReadFile(filepath.Join(d.project, "questions", question))
	if err != nil {
		return r, err
	}
	in, err := c.Audio(speech)
	if err != nil {
		return r, err
	}
	before, err := awake(ctx, c)
	if err != nil {
		return r, err
	}
	asked := time.Now()
	answer, err := client.Run(ctx, c, chain.Voice, in,
		client.Observe(d.observed, "transcribe", "answer", "sorry"),
		client.Timings(func(t client.Timing) { r.timings = append(r.timings, t) }))
	if err != nil {
		return r, err
	}
	var parts [][]byte
	for audio, err := range answer {
		if err != nil {
			return r, err
		}
		part, err := c.ReadBlob(ctx, audio.Blob)
		if err != nil {
			return r, err
		}
		if parts = append(parts, part); len(parts) == 1 {
			r.firstAudio = time.Since(asked)
		}
	}
	after, err := awake(ctx, c)
	if err != nil {
		return r, err
	}
	r.wakes = woken(before, after)
	waterfall(d.out, r)
	r.speech, err = wav.Join(parts)
	return r, err
}

// observed prints what was heard, and each sentence as soon as it is there.
func (d *demo) observed(o client.Observed) {
	if o.Step == "transcribe" {
		var heard voice.Transcript
		if json.Unmarshal(o.JSON, &heard) == nil {
			fmt.Fprintf(d.out, "heard:    %q (confidence %.2f)\n", heard.Text, heard.Confidence)
		}
		return
	}
	var said voice.Sentence
	if json.Unmarshal(o.JSON, &said) == nil {
		fmt.Fprintf(d.out, "%s: %s\n", o.Step, said.Text)
	}
}

// listen sends the spoken answer through the chain that only transcribes.
func (d *demo) listen(ctx context.Context, c *client.Client, file string, speech []byte) error {
	in, err := c.Audio(speech)
	if err != nil {
		return err
	}
	heard, err := client.Run(ctx, c, chain.Listen, in)
	if err != nil {
		return err
	}
	if heard.Text == "" {
		return errors.New("the spoken answer can't be understood")
	}
	fmt.Fprintf(d.out, "\n%s has %.1f s of speech; the chain listen hears in it: %q\n", file, in.Dur.Seconds(), heard.Text)
	return nil
}
