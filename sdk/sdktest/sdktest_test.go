package sdktest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/sdktest"
	"github.com/google/go-cmp/cmp"
)

type transcript struct {
	Text       string  `json:"text"`
	Confidence float64 `json:"confidence"`
}

type sentence struct {
	Text string `json:"text"`
}

var (
	transcribe = sdk.NewFunc[sdk.Audio, transcript]("transcribe")
	answer     = sdk.NewFunc[transcript, sdk.Stream[sentence]]("answer")
	sorry      = sdk.NewFunc[transcript, sdk.Stream[sentence]]("sorry")
	speak      = sdk.NewFunc[sentence, sdk.Audio]("speak")
)

var voice = sdk.MustDefine("voice", func(s *sdk.Steps, question sdk.Val[sdk.Audio]) sdk.Val[sdk.Stream[sdk.Audio]] {
	heard := sdk.Call(s, transcribe, question)
	reply := sdk.Switch(s, heard,
		sdk.When(`it.text == "" || it.confidence < 0.35`, func() sdk.Val[sdk.Stream[sentence]] { return sdk.Call(s, sorry, heard) }),
		sdk.Else(func() sdk.Val[sdk.Stream[sentence]] { return sdk.Call(s, answer, heard) }),
	)
	return sdk.Each(s, speak, reply)
})

// sound returns a wav file whose samples are text.
func sound(text string) []byte {
	if len(text)%2 == 1 {
		text += " "
	}
	return append(wav.Header(16000, 1, int64(len(text))), text...)
}

func heard(ctx context.Context, a sdk.Audio) (string, error) {
	file, err := sdk.ReadBlob(ctx, a.Blob)
	if err != nil {
		return "", err
	}
	info, err := wav.Parse(file)
	return strings.TrimSpace(string(info.Data)), err
}

// binds are the functions of the voice chain, acted out.
func binds() []sdktest.Option {
	return []sdktest.Option{
		sdktest.Bind(transcribe, func(ctx context.Context, a sdk.Audio) (transcript, error) {
			text, err := heard(ctx, a)
			return transcript{text, 0.5}, err
		}),
		sdktest.Bind(sorry, func(context.Context, transcript) (sdk.Stream[sentence], error) {
			return sdk.StreamOf(slices.Values([]sentence{{"sorry"}})), nil
		}),
		sdktest.Bind(answer, func(ctx context.Context, q transcript) (sdk.Stream[sentence], error) {
			tokens, err := sdk.Generate(ctx, "llm", functions.Generation{Messages: []functions.Message{{Role: "user", Content: q.Text}}})
			if err != nil {
				return nil, err
			}
			return func(yield func(sentence, error) bool) {
				defer tokens.Close()
				for {
					tok, err := tokens.Recv(ctx)
					if errors.Is(err, io.EOF) {
						return
					}
					if !yield(sentence{tok.Text}, err) || err != nil {
						return
					}
				}
			}, nil
		}),
		sdktest.Bind(speak, func(ctx context.Context, s sentence) (sdk.Audio, error) {
			sdk.Log(ctx, slog.LevelInfo, "speaks "+s.Text)
			b, err := sdk.NewBlob(ctx, wav.MediaType, sound(s.Text))
			return sdk.Audio{Blob: b, SampleHz: 16000, Channels: 1}, err
		}),
	}
}

var llm = sdktest.Model("llm", func(g functions.Generation) []string { return []string{"you said", g.Messages[0].Content} })

func TestRun_TakesTheRealRoute(t *testing.T) {
	for question, want := range map[string][]string{"hello": {"you said", "hello"}, "": {"sorry"}} {
		blobs := &sdktest.Blobs{}
		parts, err := sdktest.Run(t, voice, blobs.Audio(t, sound(question)), append(binds(), llm, blobs)...)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for a, err := range parts {
			if err != nil {
				t.Fatal(err)
			}
			info, err := wav.Parse(blobs.Data(t, a.Blob))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, strings.TrimSpace(string(info.Data)))
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("question %q: got- want+\n%s", question, diff)
		}
	}
}

type word struct {
	W string `json:"w"`
	N int    `json:"n"`
}

var (
	measure = sdk.NewFunc[string, word]("measure")
	shout   = sdk.NewFunc[word, string]("shout")
	split   = sdk.NewFunc[string, sdk.Stream[word]]("split")
)

var longest = sdk.MustDefine("longest", func(s *sdk.Steps, text sdk.Val[string]) sdk.Val[string] {
	return sdk.Call(s, shout, sdk.Last(s, sdk.Call(s, split, text)))
})

func bindSplit(stop error) sdktest.Option {
	return sdktest.Bind(split, func(_ context.Context, text string) (sdk.Stream[word], error) {
		return func(yield func(word, error) bool) {
			for w := range strings.FieldsSeq(text) {
				if !yield(word{w, len(w)}, nil) {
					return
				}
			}
			if stop != nil {
				yield(word{}, stop)
			}
		}, nil
	})
}

var bindShout = sdktest.Bind(shout, func(_ context.Context, w word) (string, error) { return strings.ToUpper(w.W), nil })

func TestRun_Last(t *testing.T) {
	got, err := sdktest.Run(t, longest, "one two three", bindSplit(nil), bindShout)
	if err != nil || got != "THREE" {
		t.Errorf("got %q, %v; want THREE", got, err)
	}
}

func TestRun_ErrorsAreThoseOfARun(t *testing.T) {
	errMine := errors.New("no more words")
	for name, tc := range map[string]struct {
		bind []sdktest.Option
		is   error
		step string
	}{
		"in a stream":     {[]sdktest.Option{bindSplit(errMine), bindShout}, errMine, "split"},
		"function's own":  {[]sdktest.Option{bindSplit(errMine), bindShout}, functions.ErrFunction, "split"},
		"panic":           {[]sdktest.Option{bindSplit(nil), sdktest.Bind(shout, func(context.Context, word) (string, error) { panic("ouch") })}, functions.ErrTrap, "shout"},
		"goroutine ended": {[]sdktest.Option{bindSplit(nil), sdktest.Bind(shout, func(context.Context, word) (string, error) { runtime.Goexit(); return "", nil })}, functions.ErrTrap, "shout"},
		"undeclared model": {[]sdktest.Option{bindSplit(nil), sdktest.Bind(shout, func(ctx context.Context, _ word) (string, error) {
			_, err := sdk.Generate(ctx, "llm", functions.Generation{})
			return "", err
		})}, functions.ErrDenied, "shout"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := sdktest.Run(t, longest, "one two", tc.bind...)
			step, ok := errors.AsType[*sdk.StepError](err)
			if got != "" || !errors.Is(err, tc.is) || !ok || step.Step != tc.step {
				t.Errorf("got %q, %v; want %v of step %s", got, err, tc.is, tc.step)
			}
		})
	}
}

func TestRun_StreamHoldsWhatCameBeforeTheError(t *testing.T) {
	words := sdk.MustDefine("words", func(s *sdk.Steps, text sdk.Val[string]) sdk.Val[sdk.Stream[word]] {
		return sdk.Call(s, split, text)
	})
	errMine := errors.New("stop")
	got, err := sdktest.Run(t, words, "a bb", bindSplit(errMine))
	if !errors.Is(err, errMine) {
		t.Errorf("got %v, want %v", err, errMine)
	}
	var all []word
	for w, err := range got {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, w)
	}
	// The first failure ends a run, so what is still on its way then is dropped.
	if want := []word{{"a", 1}, {"bb", 2}}; len(all) > len(want) || !slices.Equal(all, want[:len(all)]) {
		t.Errorf("got %v, want a beginning of %v", all, want)
	}
}

func TestCheck_FindsFaultsOfCELAndTypes(t *testing.T) {
	for name, tc := range map[string]struct {
		when, want string
	}{
		"unknown field": {`it.nn > 1`, "undefined field 'nn'"},
		"not a bool":    {`it.n`, "bool"},
		"types":         {`it.n == "x"`, "no matching overload"},
		"syntax":        {`it.n >`, "Syntax error"},
	} {
		t.Run(name, func(t *testing.T) {
			c := sdk.MustDefine("sized", func(s *sdk.Steps, text sdk.Val[string]) sdk.Val[string] {
				w := sdk.Call(s, measure, text)
				return sdk.Switch(s, w,
					sdk.When(tc.when, func() sdk.Val[string] { return sdk.Call(s, shout, w) }),
					sdk.Else(func() sdk.Val[string] { return text }))
			})
			bind := []sdktest.Option{sdktest.Bind(measure, func(_ context.Context, s string) (word, error) { return word{s, len(s)}, nil }), bindShout}
			err := sdktest.Check(t, c, bind...)
			if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "sdktest/sdktest_test.go:") {
				t.Errorf("got %v, want an invalid error with its place and %q", err, tc.want)
			}
			if _, err := sdktest.Run(t, c, "x", bind...); err == nil {
				t.Error("Run found nothing")
			}
		})
	}
}

// fatal is a test that notes how it failed.
type fatal struct {
	testing.TB
	text string
}

func (f *fatal) Helper() {}

func (f *fatal) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failure returns what a test says that fails in run.
func failure(t *testing.T, run func(testing.TB)) string {
	f := &fatal{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(f)
	}()
	<-done
	return f.text
}

func TestRun_FailsTheTestThatLeavesSomethingOut(t *testing.T) {
	unknown := sdk.Audio{Blob: functions.Attach(wav.MediaType, nil).Blob}
	for name, tc := range map[string]struct {
		run  func(testing.TB)
		want string
	}{
		"unbound":      {func(t testing.TB) { _, _ = sdktest.Run(t, longest, "x", bindShout) }, "not bound: split; pass sdktest.Bind"},
		"all unbound":  {func(t testing.TB) { _ = sdktest.Check(t, voice) }, "not bound: transcribe, sorry, answer, speak"},
		"bound twice":  {func(t testing.TB) { _, _ = sdktest.Run(t, longest, "x", bindShout, bindShout) }, "function shout is bound twice"},
		"model twice":  {func(t testing.TB) { _, _ = sdktest.Run(t, longest, "x", llm, llm) }, "model llm is given twice"},
		"two blobs":    {func(t testing.TB) { _, _ = sdktest.Run(t, longest, "x", &sdktest.Blobs{}, &sdktest.Blobs{}) }, "two *Blobs"},
		"no such blob": {func(t testing.TB) { _, _ = sdktest.Run(t, voice, unknown, binds()...) }, "which nobody made"},
		"data":         {func(t testing.TB) { new(sdktest.Blobs).Data(t, unknown.Blob) }, "neither of the input nor of the output"},
		"not a wav":    {func(t testing.TB) { new(sdktest.Blobs).Audio(t, []byte("x")) }, "not a wav file"},
		"no schema": {func(t testing.TB) {
			_, _ = sdktest.Run(t, longest, "x", sdktest.Bind(sdk.NewFunc[int, chan int]("odd"), nil))
		}, "function odd: output: invalid"},
		"wrong model": {func(t testing.TB) { _, _ = sdktest.Run(t, longest, "x", sdktest.Model("LLM", nil)) }, `model name "LLM"`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := failure(t, tc.run); !strings.Contains(got, tc.want) {
				t.Errorf("the test failed with %q, want %q", got, tc.want)
			}
		})
	}
}

func TestRun_ABlobOfNobodyIsAFault(t *testing.T) {
	blobs := &sdktest.Blobs{}
	c := sdk.MustDefine("say", func(s *sdk.Steps, text sdk.Val[sentence]) sdk.Val[sdk.Audio] { return sdk.Call(s, speak, text) })
	_, err := sdktest.Run(t, c, sentence{"x"}, sdktest.Bind(speak, func(ctx context.Context, _ sentence) (sdk.Audio, error) {
		if _, err := sdk.ReadBlob(ctx, functions.Attach("a/b", nil).Blob); !errors.Is(err, functions.ErrNotFound) {
			t.Errorf("ReadBlob of what is not in the input: got %v", err)
		}
		return sdk.Audio{Blob: functions.Attach(wav.MediaType, []byte("made up")).Blob}, nil
	}), blobs)
	if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), "which nobody made") {
		t.Errorf("got %v, want an invalid error", err)
	}
}

func TestModel_KeepsToMaxTokens(t *testing.T) {
	for _, tc := range []struct {
		max  int
		want string
	}{{0, "a b stop"}, {1, "a length"}, {2, "a b stop"}} {
		got, err := sdktest.Run(t, longest, "x", bindSplit(nil), sdktest.Model("llm", func(functions.Generation) []string { return []string{"a ", "b "} }),
			sdktest.Bind(shout, func(ctx context.Context, _ word) (string, error) {
				tokens, err := sdk.Generate(ctx, "llm", functions.Generation{MaxTokens: tc.max})
				if err != nil {
					return "", err
				}
				defer tokens.Close()
				var text string
				for {
					tok, err := tokens.Recv(ctx)
					if errors.Is(err, io.EOF) {
						return text, nil
					}
					if err != nil {
						return "", err
					}
					text += tok.Text + tok.Finish
				}
			}))
		if err != nil || got != tc.want {
			t.Errorf("max %d: got %q, %v; want %q", tc.max, got, err, tc.want)
		}
	}
}

// TestRun_Streams runs a chain of streams: one step pairs what it reads, one counts in full duplex and opens turns.
func TestRun_Streams(t *testing.T) {
	pair := sdk.NewFunc[sdk.Stream[string], sdk.Stream[string]]("pair")
	count := sdk.NewFunc[sdk.Stream[string], sdk.Stream[word]]("count").OpensTurns()
	pairs := sdk.MustDefine("pairs", func(s *sdk.Steps, in sdk.Val[sdk.Stream[string]]) sdk.Val[sdk.Stream[word]] {
		return sdk.Call(s, count, sdk.Call(s, pair, in))
	})
	in := sdk.StreamOf(slices.Values([]string{"a", "b", "c"}))
	out, err := sdktest.Run(t, pairs, in,
		sdktest.Bind(pair, func(_ context.Context, in sdk.Stream[string]) (sdk.Stream[string], error) {
			return func(yield func(string, error) bool) {
				for v, err := range in {
					if !yield(v+v, err) {
						return
					}
				}
			}, nil
		}),
		sdktest.BindDuplex(count, func(ctx context.Context, in *sdk.Receiver[string], out *sdk.Sender[word]) error {
			for turn := uint64(0); ; turn++ {
				m, err := in.Recv(ctx)
				if err == io.EOF {
					return nil
				}
				if err == nil {
					err = out.Send(ctx, sdk.Msg[word]{Value: word{m.Value, int(turn)}, Turn: turn})
				}
				if err != nil {
					return err
				}
			}
		}))
	if err != nil {
		t.Fatal(err)
	}
	var got []word
	for v, err := range out {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, v)
	}
	if diff := cmp.Diff([]word{{"aa", 0}, {"bb", 1}, {"cc", 2}}, got); diff != "" {
		t.Error(diff)
	}
}
