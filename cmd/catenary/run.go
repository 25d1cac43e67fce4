package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sdk/client"
)

type runCmd struct {
	serverFlag
	Chain   string   `arg:"" help:"Name of the chain."`
	File    string   `arg:"" optional:"" help:"Input: .wav is audio, .json is JSON, others are text; - is text from stdin."`
	In      string   `name:"in" placeholder:"JSON" help:"Input as JSON."`
	Out     string   `placeholder:"FILE" help:"Write the answer to this file instead of stdout."`
	Observe []string `placeholder:"STEP" help:"Print what these steps yield, and what each step took, on stderr."`
	Stream  bool     `help:"Send the input as a stream and print what comes as it comes: a .wav as if it were spoken now, of JSON each value. Ctrl-C interrupts the turn, a second one ends the run."`
	Fast    bool     `help:"With --stream: send a .wav as fast as the chain takes it."`
}

// Run runs the chain and prints its answer.
func (c *runCmd) Run(e *env) error {
	if (c.File == "") == (c.In == "") {
		return fmt.Errorf("%w: give the input as a FILE or as --in JSON", errUsage)
	}
	if c.Fast && !c.Stream {
		return fmt.Errorf("%w: --fast belongs to --stream", errUsage)
	}
	body, mediaType, err := c.input(e.stdin)
	if err != nil {
		return err
	}
	server, err := c.client()
	if err != nil {
		return err
	}
	if c.Stream {
		return c.stream(e, server, body, mediaType)
	}
	var answer bytes.Buffer
	if len(c.Observe) > 0 {
		err = c.observe(e, server, body, mediaType, &answer)
	} else {
		err = c.post(e.ctx, server, body, mediaType, &answer)
	}
	if err != nil {
		return err
	}
	if c.Out != "" {
		return os.WriteFile(c.Out, answer.Bytes(), 0o644)
	}
	if terminal(e.stdout) && bytes.HasPrefix(answer.Bytes(), []byte("RIFF")) {
		return fmt.Errorf("%w: the answer is audio; write it to a file with --out FILE", errUsage)
	}
	_, err = e.stdout.Write(answer.Bytes())
	return err
}

// input returns the input's bytes and their media type.
func (c *runCmd) input(stdin io.Reader) ([]byte, string, error) {
	switch {
	case c.In != "":
		return []byte(c.In), "application/json", nil
	case c.File == "-":
		b, err := io.ReadAll(stdin)
		return b, "text/plain", err
	}
	b, err := os.ReadFile(c.File)
	switch strings.ToLower(filepath.Ext(c.File)) {
	case ".wav":
		return b, wav.MediaType, err
	case ".json":
		return b, "application/json", err
	}
	return b, "text/plain", err
}

// post runs the chain through its plain URL: the answer is what curl would get.
func (c *runCmd) post(ctx context.Context, server *client.Client, body []byte, mediaType string, answer io.Writer) error {
	resp, err := server.Post(ctx, c.Chain, mediaType, bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(answer, resp.Body); err != nil {
		return err
	}
	// A text comes without a line's end; on a terminal it should have one.
	if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); t == "text/plain" {
		fmt.Fprintln(answer)
	}
	return nil
}

// observe runs the chain as a stream, tells on stderr what the steps yield, and collects the answer in the form that post
// gives it: audio as one wav, texts as they are, anything else as one line of JSON for each item.
func (c *runCmd) observe(e *env, server *client.Client, body []byte, mediaType string, answer io.Writer) error {
	in, err := c.asJSON(e.ctx, server, body, mediaType)
	if err != nil {
		return err
	}
	chain, err := server.Describe(e.ctx, c.Chain)
	if err != nil {
		return err
	}
	property, ok := chain.Out.Schema.TextProperty()
	plain := ok && property == ""
	var parts [][]byte
	var timings []client.Timing
	for event, err := range server.Events(e.ctx, c.Chain, in, c.Observe...) {
		switch {
		case err != nil:
			return err
		case event.Observed != nil:
			fmt.Fprintf(e.stderr, "%s %s\n", event.Observed.Step, event.Observed.JSON)
		case event.Timing != nil:
			timings = append(timings, *event.Timing)
		case event.Value != nil && len(event.Value.Blobs) == 1 && event.Value.Blobs[0].Type == wav.MediaType:
			parts = append(parts, event.Value.Blobs[0].Data)
		case event.Value != nil && plain:
			var text string
			if err := json.Unmarshal(event.Value.JSON, &text); err != nil {
				return fmt.Errorf("the answer should be a text: %w", err)
			}
			fmt.Fprint(answer, text)
		case event.Value != nil:
			fmt.Fprintf(answer, "%s\n", event.Value.JSON)
		}
	}
	printTimings(e.stderr, timings)
	if plain {
		fmt.Fprintln(answer)
	}
	if len(parts) == 0 {
		return nil
	}
	joined, err := wav.Join(parts)
	if err != nil {
		return err
	}
	_, err = answer.Write(joined)
	return err
}

// asJSON returns the input as the plain URL would take it, in JSON.
func (c *runCmd) asJSON(ctx context.Context, server *client.Client, body []byte, mediaType string) (json.RawMessage, error) {
	switch mediaType {
	case wav.MediaType:
		return json.Marshal(map[string]any{"data": body, "type": mediaType})
	case "text/plain":
		chain, err := server.Describe(ctx, c.Chain)
		if err != nil {
			return nil, err
		}
		name, ok := chain.In.Schema.TextProperty()
		if !ok {
			return nil, fmt.Errorf("%w: chain %s takes %s, not a text: give a .wav or .json file, or --in JSON", errUsage, c.Chain, chain.In.Schema)
		}
		if name != "" {
			return json.Marshal(map[string]string{name: string(body)})
		}
		return json.Marshal(string(body))
	}
	return body, nil
}

// printTimings prints what each step took, in the order in which they started.
func printTimings(w io.Writer, timings []client.Timing) {
	slices.SortStableFunc(timings, func(a, b client.Timing) int { return int(a.Start - b.Start) })
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "step\tstart\twake\tqueue\tfirst item\ttotal\tcalls\tbytes in\tbytes out\t")
	for _, t := range timings {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t\n", t.Step, short(t.Start), short(t.Wake), short(t.Queue), short(t.FirstItem), short(t.Total), t.Calls, t.BytesIn, t.BytesOut)
	}
	table.Flush()
}

// short rounds a duration for people.
func short(d time.Duration) string {
	if d >= 10*time.Millisecond {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
