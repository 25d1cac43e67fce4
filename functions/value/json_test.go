package value

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/functions/wav"
	"github.com/google/go-cmp/cmp"
)

func TestFromJSON(t *testing.T) {
	type record struct {
		N    int64          `json:"n,omitempty"`
		U    uint64         `json:"u,omitempty"`
		F    float64        `json:"f,omitempty"`
		S    string         `json:"s,omitempty"`
		B    []byte         `json:"b,omitempty"`
		At   time.Time      `json:"at,omitzero"`
		Dur  time.Duration  `json:"dur,omitempty"`
		P    *string        `json:"p"`
		L    []int          `json:"l,omitempty"`
		M    map[string]int `json:"m,omitempty"`
		Any  any            `json:"any,omitempty"`
		Flag bool           `json:"flag,omitempty"`
	}
	hi := "hi"
	for text, want := range map[string]record{
		`{}`:                                  {},
		`{"p":null}`:                          {},
		`{"p":"hi"}`:                          {P: &hi},
		`{"n":1}`:                             {N: 1},
		` { "n" : 1.0 } `:                     {N: 1},
		`{"n":1e3}`:                           {N: 1000},
		`{"n":-1.20e1}`:                       {N: -12},
		`{"n":9007199254740993}`:              {N: 9007199254740993},
		`{"n":-9223372036854775808}`:          {N: -9223372036854775808},
		`{"n":100000000000000000000e-5}`:      {N: 1000000000000000},
		`{"n":0e999999999999}`:                {},
		`{"u":18446744073709551615}`:          {U: 18446744073709551615},
		`{"f":1}`:                             {F: 1},
		`{"f":0.25}`:                          {F: 0.25},
		`{"s":"a\u00e9\n"}`:                   {S: "a\u00e9\n"},
		`{"b":"AP8="}`:                        {B: []byte{0, 255}},
		`{"at":"2026-01-02T03:04:05.5Z"}`:     {At: time.Date(2026, 1, 2, 3, 4, 5, 5e8, time.UTC)},
		`{"at":"0001-01-01T00:00:00Z"}`:       {},
		`{"dur":1500000000}`:                  {Dur: 1500 * time.Millisecond},
		`{"l":[1,2]}`:                         {L: []int{1, 2}},
		`{"m":{"x":1,"y":2}}`:                 {M: map[string]int{"x": 1, "y": 2}},
		`{"any":{"a":[1,1.0,"x",null,true]}}`: {Any: map[string]any{"a": []any{int64(1), 1.0, "x", nil, true}}},
		`{"flag":true}`:                       {Flag: true},
	} {
		b, blobs, err := FromJSON(functions.SchemaFor[record](), []byte(text), nil)
		if err != nil || blobs != nil {
			t.Errorf("%s: %v, %v", text, err, blobs)
			continue
		}
		var got record
		if err := Decode(b, &got); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("%s: got- want+\n%s", text, diff)
		}
	}
}

func TestFromJSON_NamesThePlace(t *testing.T) {
	type item struct {
		ID   int             `json:"id"`
		Tag  string          `json:"tag,omitempty"`
		F    float64         `json:"f,omitempty"`
		Raw  []byte          `json:"raw,omitempty"`
		At   time.Time       `json:"at,omitzero"`
		Any  any             `json:"any,omitempty"`
		M    map[string]int  `json:"m,omitempty"`
		Blob *functions.Blob `json:"blob,omitempty"`
	}
	type list struct {
		Items []item `json:"items"`
	}
	for text, want := range map[string]string{
		``:                                        "value: the JSON ends too early",
		`{"items":[`:                              "value.items: the JSON ends too early",
		`{"items":[{"id":1}]} 1`:                  "value: there is more after the JSON, at byte",
		`{"items":[{"id":1},]}`:                   "value.items[1]: JSON: invalid character",
		`{"items" 1}`:                             "JSON: invalid character '1' after object key",
		`{"items":[{"id":"x"}]}`:                  "value.items[0].id: got string, want integer",
		`{"items":[{"id":1.5}]}`:                  `value.items[0].id: "1.5" is not an integer of 64 bits`,
		`{"items":[{"id":1e30}]}`:                 `value.items[0].id: "1e30" is not an integer of 64 bits`,
		`{"items":[{"id":1e-99999999999}]}`:       "is not an integer of 64 bits",
		`{"items":[{"id":18446744073709551616}]}`: "is not an integer of 64 bits",
		`{"items":[{"id":-9223372036854775809}]}`: "is not an integer of 64 bits",
		`{"items":[{"id":1,"any":18446744073709551616}]}`: `value.items[0].any: "18446744073709551616" is not an integer of 64 bits`,
		`{"items":[{"id":1,"f":1e400}]}`:                  `value.items[0].f: "1e400" is too large for a number`,
		`{"items":[{"id":null}]}`:                         "value.items[0].id: is null, want integer",
		`{"items":[{}]}`:                                  `value.items[0]: property "id" is missing`,
		`{"items":[{"id":1,"no":2}]}`:                     "value.items[0].no: is not a property of item",
		`{"items":[{"id":1,"id":2}]}`:                     "value.items[0].id: is there twice",
		`{"items":[{"id":1,"m":{"a":1,"a":2}}]}`:          "value.items[0].m.a: is there twice",
		`{"items":[{"id":1,"any":{"a":1,"a":2}}]}`:        "value.items[0].any.a: is there twice",
		`{"items":[{"id":1,"raw":"?"}]}`:                  "value.items[0].raw: is not base64",
		`{"items":[{"id":1,"at":"noon"}]}`:                `value.items[0].at: "noon" is not a date and time`,
		`{"items":[{"id":1,"tag":["a"]}]}`:                "value.items[0].tag: got array, want string",
		`[]`:                                              "value: got array, want list",
		`"x"`:                                             "value: got string, want list",
		"{\"items\":\"\xff\"}":                            "not UTF-8",
		`{"items":[{"id":1,"blob":{"blob":"sha256:00","type":"a/b","size":1}}]}`:                 "value.items[0].blob.blob:",
		`{"items":[{"id":1,"blob":{"type":"a/b"}}]}`:                                             `value.items[0].blob: property "blob" is missing`,
		`{"items":[{"id":1,"blob":{"data":"AA==","type":"a/b","size":1}}]}`:                      "value.items[0].blob.size: has no place beside data",
		`{"items":[{"id":1,"blob":{"data":"AA=="}}]}`:                                            "value.items[0].blob.type: has to say the media type",
		`{"items":[{"id":1,"blob":{"data":7,"type":"a/b"}}]}`:                                    "value.items[0].blob.data: got number, want base64",
		`{"items":[{"id":1,"any":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}]}`: "nests deeper than 64",
	} {
		_, _, err := FromJSON(functions.SchemaFor[list](), []byte(text), nil)
		if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an invalid error with %q", text, err, want)
		}
	}
}

func TestFromJSON_TakesBlobsByData(t *testing.T) {
	file := append(wav.Header(16000, 2, 64000), make([]byte, 64000)...)
	data := base64.StdEncoding.EncodeToString(file)
	type pair struct {
		Sound functions.Audio  `json:"sound"`
		Same  *functions.Audio `json:"same,omitempty"`
		Note  functions.Blob   `json:"note"`
	}
	b, blobs, err := FromJSON(functions.SchemaFor[pair](),
		fmt.Appendf(nil, `{"sound":{"data":%q},"same":{"type":"audio/x-wav","data":%q},"note":{"data":"aGk=","type":"text/plain"}}`, data, data), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantBlobs := []functions.Attachment{functions.Attach("audio/wav", file), functions.Attach("text/plain", []byte("hi"))}
	if diff := cmp.Diff(blobs, wantBlobs); diff != "" {
		t.Errorf("attachments: got- want+\n%s", diff)
	}
	sound := functions.Audio{Blob: wantBlobs[0].Blob, SampleHz: 16000, Channels: 2, Dur: time.Second}
	var got pair
	if err := Decode(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, pair{sound, &sound, wantBlobs[1].Blob}); diff != "" {
		t.Errorf("value: got- want+\n%s", diff)
	}
}

func TestFromJSON_RefusesWrongAudio(t *testing.T) {
	for text, want := range map[string]string{
		`{"data":"aGVsbG8="}`:                     "value.data: invalid: not a wav file",
		`{"data":"aGVsbG8=","type":"audio/mpeg"}`: `value.type: got "audio/mpeg", want audio/wav`,
		`{"data":"aGVsbG8=","type":3}`:            `value.type: got "", want audio/wav`,
		`{"data":"a"}`:                            "value.data: is not base64",
		`{"blob":"` + string(functions.DigestOf(nil)) + `","type":"audio/wav","size":0}`: `property "channels" is missing`,
	} {
		_, _, err := FromJSON(functions.SchemaFor[functions.Audio](), []byte(text), nil)
		if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an invalid error with %q", text, err, want)
		}
	}
}

func TestFromJSON_OpensBlobs(t *testing.T) {
	file, note := append(wav.Header(16000, 2, 64000), make([]byte, 64000)...), []byte("hi")
	stored := map[functions.Digest][]byte{functions.DigestOf(file): file, functions.DigestOf(note): note}
	opened := map[functions.Digest]int{}
	open := func(d functions.Digest) ([]byte, error) {
		opened[d]++
		if stored[d] == nil {
			return nil, functions.ErrNotFound
		}
		return stored[d], nil
	}
	type all struct {
		Sound  functions.Audio `json:"sound"`
		Again  functions.Audio `json:"again"`
		Note   functions.Blob  `json:"note"`
		Any    functions.Blob  `json:"any"`
		Inside functions.Blob  `json:"inside"`
		Data   functions.Blob  `json:"data"`
	}
	b, blobs, err := FromJSON(functions.SchemaFor[all](), fmt.Appendf(nil, `{
		"sound":  {"blob":%[1]q},
		"again":  {"blob":%[1]q,"type":"audio/x-wav","size":64044,"sample_hz":16000,"channels":2,"dur":1e9},
		"note":   {"blob":%[2]q,"type":"text/plain"},
		"any":    {"blob":%[1]q,"sample_hz":16000},
		"inside": {"blob":%[3]q,"type":"text/plain"},
		"data":   {"data":"eW8=","type":"text/plain"}}`, functions.DigestOf(file), functions.DigestOf(note), functions.DigestOf([]byte("yo"))), open)
	if err != nil {
		t.Fatal(err)
	}
	var got all
	if err := Decode(b, &got); err != nil {
		t.Fatal(err)
	}
	audio, text, inside := functions.Attach(wav.MediaType, file), functions.Attach("text/plain", note), functions.Attach("text/plain", []byte("yo"))
	sound := functions.Audio{Blob: audio.Blob, SampleHz: 16000, Channels: 2, Dur: time.Second}
	if diff := cmp.Diff(got, all{sound, sound, text.Blob, audio.Blob, inside.Blob, inside.Blob}); diff != "" {
		t.Errorf("value: got- want+\n%s", diff)
	}
	if diff := cmp.Diff(blobs, []functions.Attachment{inside, audio, text}); diff != "" {
		t.Errorf("attachments: got- want+\n%s", diff)
	}
	// What came as data is not looked for, wherever it stands.
	if diff := cmp.Diff(opened, map[functions.Digest]int{audio.Digest: 1, text.Digest: 1}); diff != "" {
		t.Errorf("opened: got- want+\n%s", diff)
	}

	for text, want := range map[string]string{
		`{"sound":{"blob":"FILE","size":64043}}`:                      `value.sound.size: got "64043", but the blob has 64044`,
		`{"sound":{"blob":"FILE","size":null}}`:                       "value.sound.size: got",
		`{"sound":{"blob":"FILE","size":[[1]]}}`:                      "value.sound.size: got",
		`{"sound":{"blob":"FILE","sample_hz":8000}}`:                  `value.sound.sample_hz: got "8000", but the blob has 16000`,
		`{"sound":{"blob":"FILE","channels":1}}`:                      "value.sound.channels: got",
		`{"sound":{"blob":"FILE","dur":1}}`:                           "value.sound.dur: got",
		`{"sound":{"blob":"FILE","type":"audio/ogg"}}`:                `value.sound.type: got "audio/ogg", want audio/wav`,
		`{"sound":{"blob":"FILE","title":"x"}}`:                       "value.sound.title: is not a property",
		`{"sound":{"blob":"NOTE"}}`:                                   "value.sound.blob: invalid: not a wav file",
		`{"sound":{"blob":"sha256:00"}}`:                              `value.sound.blob: "sha256:00" is not sha256: and 64 lower-case hex digits`,
		`{"sound":{"blob":"` + functions.DigestOf(file).Hex() + `"}}`: "64 lower-case hex digits",
		`{"sound":{"blob":7}}`:                                        "value.sound.blob: got number, want sha256:",
		`{"sound":{"blob":null}}`:                                     "value.sound.blob: got null, want sha256:",
		`{"sound":{"type":"audio/wav"}}`:                              `value.sound: property "blob" is missing`,
	} {
		text = strings.NewReplacer("FILE", string(functions.DigestOf(file)), "NOTE", string(functions.DigestOf(note))).Replace(text)
		type one struct {
			Sound functions.Audio `json:"sound"`
		}
		_, _, err := FromJSON(functions.SchemaFor[one](), []byte(text), open)
		if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an invalid error with %q", text, err, want)
		}
	}
	_, _, err = FromJSON(functions.SchemaFor[functions.Blob](), fmt.Appendf(nil, `{"blob":%q}`, text.Digest), open)
	if !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), `property "type" is missing`) {
		t.Errorf("a blob without type: got %v", err)
	}
	_, _, err = FromJSON(functions.SchemaFor[functions.Audio](), fmt.Appendf(nil, `{"blob":%q}`, functions.DigestOf([]byte("elsewhere"))), open)
	if !errors.Is(err, functions.ErrNotFound) || !strings.Contains(err.Error(), "value.blob: ") {
		t.Errorf("an unknown blob: got %v", err)
	}
}

func TestToJSON(t *testing.T) {
	got, err := ToJSON(functions.SchemaFor[all](), encode(t, full()))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Sound":{"blob":"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","channels":1,"dur":1000000000,"sample_hz":16000,"size":1,"type":"audio/wav"},` +
		`"any":{"k":[1,"two",3.5,null,true]},"arr":[1,2,3],"at":"2026-01-02T03:04:05.600000007+01:00","b":true,"bytes":"AP8=","deep":5,"dur":1000000000,"f":0.1,"f32":0.5,` +
		`"i":-9223372036854775808,"i8":-128,"list":[{"name":"a"},{"n":-7,"name":"b"}],"map":{"longer":2,"x":1},"opt":"o","ptr":{"name":"p"},"s":"h` + "\u00e9" + `llo",` +
		`"u64":18446744073709551615,"zero":{"name":"z"}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for v, want := range map[any]string{1.0: "1.0", 1: "1", "<&>": `"<&>"`, 1e21: "1e+21", nil: "null"} {
		if got, err := ToJSON(&functions.Schema{}, encode(t, v)); err != nil || string(got) != want {
			t.Errorf("any %v: got %s, %v; want %s", v, got, err, want)
		}
	}
	if got, err := ToJSON(functions.SchemaFor[float64](), encode(t, 1.0)); err != nil || string(got) != "1" {
		t.Errorf("number 1: got %s, %v", got, err)
	}
	if _, err := ToJSON(functions.SchemaFor[string](), encode(t, 1)); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("got %v, want an invalid error", err)
	}
}

func FuzzFromJSON(f *testing.F) {
	file := append(wav.Header(16000, 1, 2), 0, 0)
	open := func(d functions.Digest) ([]byte, error) {
		if d != functions.DigestOf(file) {
			return nil, functions.ErrNotFound
		}
		return file, nil
	}
	s := functions.SchemaFor[all]()
	for _, v := range []all{full(), {Sound: full().Sound}} {
		text, err := ToJSON(s, encode(f, v))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"Sound":{"data":"UklGRg=="}}`))
	f.Add(fmt.Appendf(nil, `{"Sound":{"blob":%q,"size":45}}`, functions.DigestOf(file)))
	f.Add([]byte(`[1e5,1.0,-0,{"a":"\ud800"}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, s := range []*functions.Schema{s, {}} {
			for _, open := range []func(functions.Digest) ([]byte, error){nil, open} {
				b, _, err := FromJSON(s, text, open)
				if err != nil {
					if !errors.Is(err, functions.ErrInvalid) && !errors.Is(err, functions.ErrNotFound) {
						t.Fatalf("error %v is not of the caller", err)
					}
					continue
				}
				if err := Check(s, b); err != nil {
					t.Fatalf("Check of what FromJSON made: %v", err)
				}
			}
		}
	})
}
