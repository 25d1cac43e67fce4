package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/invokertest"
	"github.com/catenary-run/catenary/functions/wav"
)

// mirror is a function that sends back the audio that it gets.
func mirror() invokertest.Function {
	f := invokertest.New("mirror", func(ctx context.Context, in functions.Source, out functions.Sink) error {
		for {
			it, err := in.Recv(ctx)
			if err != nil {
				if errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
			if err := out.Send(ctx, it); err != nil {
				return err
			}
		}
	})
	f.Manifest.In, f.Manifest.Out = port[functions.Audio](true), port[functions.Audio](true)
	return f
}

func TestSocket_Audio(t *testing.T) {
	w := newWorld(t, nil, mirror())
	v := w.socketVisit(t, "mirror", `{"audio":{"sample_hz":48000,"channels":2}}`)
	samples := []byte{1, 0, 2, 0, 3, 0, 4, 0}
	say := func(b []byte) {
		t.Helper()
		if err := v.conn.Write(t.Context(), websocket.MessageBinary, b); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(want audioEvent) {
		t.Helper()
		kind, data := v.event()
		var got audioEvent
		if err := json.Unmarshal(data, &got); err != nil || kind != eventAudio || got != want {
			t.Fatalf("%s %+v (%v), want %+v", kind, got, err, want)
		}
		typ, b, err := v.conn.Read(t.Context())
		if err != nil || typ != websocket.MessageBinary || !bytes.Equal(b, samples) {
			t.Fatalf("samples %v of type %v, %v, want %v", b, typ, err, samples)
		}
	}
	say(samples)
	hear(audioEvent{SampleHz: 48000, Channels: 2})
	say(nil)                                                      // a recorder that has nothing yet
	v.text(`{"audio":{"sample_hz":16000,"channels":1,"turn":1}}`) // the format changes, and a turn begins
	say(samples)
	hear(audioEvent{SampleHz: 16000, Channels: 1, Seq: 1, Turn: 1})
	if n := w.s.results.size(time.Now()); n != 0 {
		t.Errorf("%d bytes are held of what was sent", n)
	}
	say(samples[:3])
	if got := v.hear(); got.Kind != eventError || got.Code != "invalid" {
		t.Errorf("half a sample: got %v", got)
	}
}

func TestSocket_AudioNeedsAFormat(t *testing.T) {
	w := newWorld(t, nil, mirror())
	for name, open := range map[string]string{"none": `{"open":{}}`, "no rate": `{"audio":{"channels":1}}`, "absurd": `{"audio":{"sample_hz":99999999,"channels":1}}`, "no channels": `{"open":{"audio":{"sample_hz":8000}}}`} {
		t.Run(name, func(t *testing.T) {
			v := w.socketVisit(t, "mirror", open)
			_ = v.conn.Write(t.Context(), websocket.MessageBinary, make([]byte, 2)) // it may have been refused already
			if got := v.hear(); got.Kind != eventError || got.Code != "invalid" {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestSocket_OneValue: a chain that takes one value needs no end of the input.
func TestSocket_OneValue(t *testing.T) {
	w := newWorld(t, nil)
	v := w.socketVisit(t, "split", `{"open":{"observe":["step"]}}`)
	v.text(`{"item":{"value":{"text":"a b"}}}`)
	var kinds []string
	for {
		kind, data := v.event()
		kinds = append(kinds, kind)
		if kind == eventTiming && !strings.Contains(string(data), `"calls":1`) {
			t.Errorf("timing %s", data)
		}
		if kind == eventEnd || kind == eventError {
			break
		}
	}
	if diff := cmp.Diff(kinds, []string{eventObserved, eventItem, eventObserved, eventItem, eventTiming, eventEnd}); diff != "" {
		// The items and what is observed come from two steps of the way, in no fixed order.
		count := map[string]int{}
		for _, k := range kinds {
			count[k]++
		}
		if count[eventObserved] != 2 || count[eventItem] != 2 || count[eventTiming] != 1 || kinds[len(kinds)-1] != eventEnd {
			t.Errorf("got (-) want (+), in about this order:\n%s", diff)
		}
	}
}

// TestSocket_Refused: what stops a WebSocket before it is one is answered as on the other doors.
func TestSocket_Refused(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Origins = []string{"https://app.example.com"} })
	upgrade := []string{"Connection", "keep-alive, Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}
	for name, test := range map[string]struct {
		path   string
		header []string
		code   string
	}{
		"no such chain":                   {"/chains/nope", upgrade, "not_found"},
		"another page":                    {"/chains/shout", append(upgrade[:len(upgrade):len(upgrade)], "Origin", "https://evil.example.com"), "permission_denied"},
		"another name":                    {"/chains/shout", append(upgrade[:len(upgrade):len(upgrade)], "Host", "evil.example.com"), "permission_denied"},
		"an old handshake":                {"/chains/shout", upgrade[:4], "invalid_argument"},
		"no WebSocket of an allowed page": {"/chains/shout", []string{"Origin", "https://app.example.com"}, "permission_denied"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := w.curl(t, "GET", test.path, "", nil, test.header...).code(t); got != test.code {
				t.Errorf("got %s, want %s", got, test.code)
			}
		})
	}
	for _, origin := range []string{"https://app.example.com", w.url} {
		conn, _, err := websocket.Dial(t.Context(), strings.Replace(w.url, "http", "ws", 1)+"/chains/shout", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}})
		if err != nil {
			t.Errorf("a page of %s: %v", origin, err)
			continue
		}
		_ = conn.CloseNow()
	}
}

func TestConfig_Origins(t *testing.T) {
	for _, bad := range []string{"app.example.com", "https://", "https://app.example.com/", "*"} {
		c := DefaultConfig()
		c.Origins = []string{bad}
		if c.Validate() == nil {
			t.Errorf("origin %q passes", bad)
		}
	}
}

// TestServe_DrainEndsStreams: streams may go on for the time of a drain; then each is told that the server goes.
func TestServe_DrainEndsStreams(t *testing.T) {
	for door, open := range talks {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			a := newActor()
			sv := serve(t, func(c *Config) { c.Drain = 0 }, a.function("act", false))
			v := open(t, sv.world, "act")
			v.say("a", 0)
			if got := v.hear(); got.Value != "A" {
				t.Fatalf("got %v", got)
			}
			v.say("hold", 0)
			<-a.held
			sv.stop()
			if got := v.hear(); got.Kind != eventError || got.Code != "unavailable" {
				t.Errorf("got %v, want that the server is gone", got)
			}
			if err := <-a.ended; !errors.Is(err, functions.ErrUnavailable) {
				t.Errorf("the function ended with %v", err)
			}
			sv.ended(t)
		})
	}
}

func TestSSE_BlobsAndSteps(t *testing.T) {
	w := newWorld(t, nil)
	got := w.curl(t, "POST", "/chains/sing?blobs=inline&observe=step", "text/plain", []byte("h"), "Accept", "text/event-stream")
	if got.status != http.StatusOK || got.header.Get("Catenary-Run") == "" {
		t.Fatalf("status %d, header %v", got.status, got.header)
	}
	var kinds []string
	for line := range strings.Lines(got.body) {
		if kind, ok := strings.CutPrefix(strings.TrimSpace(line), "event: "); ok {
			kinds = append(kinds, kind)
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok || kinds[len(kinds)-1] != eventItem {
			continue
		}
		var it struct {
			Value functions.Audio
			Blobs []struct {
				functions.Blob
				Data []byte
			}
		}
		if err := json.Unmarshal([]byte(data), &it); err != nil || len(it.Blobs) != 1 || it.Blobs[0].Digest != it.Value.Digest || !bytes.Equal(it.Blobs[0].Data, tone(16000, 100)) {
			t.Errorf("item %s: %v", data, err)
		}
	}
	if diff := cmp.Diff(kinds, []string{eventStarted, eventObserved, eventItem, eventTiming, eventEnd}); diff != "" {
		t.Errorf("got (-) want (+):\n%s", diff)
	}
	refs := w.curl(t, "POST", "/chains/sing", "text/plain", []byte("h"), "Accept", "text/event-stream").body
	digest := functions.DigestOf(tone(16000, 100))
	if !strings.Contains(refs, string(digest)) || strings.Contains(refs, `"blobs"`) {
		t.Errorf("no reference to the blob alone: %s", refs)
	}
	if blob := w.curl(t, "GET", "/blobs/"+digest.Hex(), "", nil); blob.body != string(tone(16000, 100)) || blob.header.Get("Content-Type") != wav.MediaType {
		t.Errorf("the blob by its name: status %d, %d bytes", blob.status, len(blob.body))
	}
	for path, code := range map[string]string{"/chains/sing?blobs=all": "invalid_argument", "/chains/sing?observe=nope": "invalid_argument", "/chains/nope": "not_found"} {
		if got := w.curl(t, "POST", path, "text/plain", []byte("h"), "Accept", "text/event-stream").code(t); got != code {
			t.Errorf("%s: %s, want %s", path, got, code)
		}
	}
}

func FuzzParseSocketMessage(f *testing.F) {
	f.Add([]byte(`{"item":{"value":{"a":[1,null]},"turn":3,"time":"2026-11-24T12:00:00Z"}}`))
	f.Add([]byte(`{"open":{"observe":["a"],"audio":{"sample_hz":16000,"channels":1},"blobs":"inline","timeout_ms":5}}`))
	f.Add([]byte(`{"end":{}}{"end":{}}`))
	f.Add([]byte(`{"interrupt":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseSocketMessage(b)
		if (m == nil) == (err == nil) || err != nil && !errors.Is(err, functions.ErrInvalid) {
			t.Fatalf("%v, %v", m, err)
		}
	})
}

// TestSSE_Heartbeat: a connection on which nothing comes is not silent.
func TestSSE_Heartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := httptest.NewRecorder()
		events := &eventWriter{w: rec, line: new(line), gone: func(err error) { t.Error(err) }}
		if err := events.begin(); err != nil {
			t.Fatal(err)
		}
		over := make(chan struct{})
		var beats sync.WaitGroup
		beats.Go(func() { events.beat(over) })
		time.Sleep(3*heartbeat + time.Second)
		close(over)
		beats.Wait()
		if n := strings.Count(rec.Body.String(), ": still here\n\n"); n != 3 {
			t.Errorf("%d heartbeats in three times their pause, want 3", n)
		}
	})
}
