package value

import (
	"testing"

	"github.com/catenary-run/catenary/functions"
	"pgregory.net/rapid"
)

// TestFits_AgreesWithTheDecoder: what fits lets pass the decoder does, too, and finds no blobs in it, be the bytes what
// Encode made or broken.
func TestFits_AgreesWithTheDecoder(t *testing.T) {
	passed, broken := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		s := schemas(3).Draw(t, "schema")
		b, err := Encode(valueOf(t, s))
		if err != nil {
			t.Skip(err)
		}
		bad := rapid.Bool().Draw(t, "broken") && len(b) > 0
		if bad {
			switch i := rapid.IntRange(0, len(b)-1).Draw(t, "at"); rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				b[i] = rapid.Byte().Draw(t, "byte")
			case 1:
				b = b[:i]
			default:
				b = append(b[:i:i], append(rapid.SliceOfN(rapid.Byte(), 1, 9).Draw(t, "more"), b[i:]...)...)
			}
		}
		if !fits(s, b) {
			return
		}
		passed++
		if bad {
			broken++
		}
		var c conformer
		if _, err := c.decode(s, b); err != nil || len(c.blobs) > 0 {
			t.Fatalf("%x fits %s, and the decoder says %v and finds %d blobs", b, s, err, len(c.blobs))
		}
	})
	t.Logf("%d values fit, %d of them broken ones", passed, broken)
	if passed == 0 {
		t.Error("nothing fits")
	}
}

// TestFits_AllocatesNothing: what functions send most is checked without a copy of it.
func TestFits_AllocatesNothing(t *testing.T) {
	type word struct {
		Text  string   `json:"text"`
		At    []int    `json:"at"`
		Heard bool     `json:"heard"`
		Parts []string `json:"parts"`

		Score float64            `json:"score"`
		Named map[string]float64 `json:"named"`
	}
	for _, tt := range []struct {
		schema *functions.Schema
		value  any
	}{
		{functions.SchemaFor[word](), word{"tea", []int{1, -2, 70000}, true, []string{"t", "ea"}, 0.1, map[string]float64{"half": 0.5, "one": 1}}},
		{functions.SchemaFor[string](), "some text"},
		{functions.SchemaFor[[]byte](), make([]byte, 1000)},
		{functions.SchemaFor[int](), -5},
		{functions.SchemaFor[bool](), true},
	} {
		b, err := Encode(tt.value)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() {
			if refs, err := CheckBlobs(tt.schema, b); err != nil || refs != nil {
				t.Errorf("%v: got %v, %v", tt.value, refs, err)
			}
		}); n != 0 {
			t.Errorf("the check of %T allocates %v times", tt.value, n)
		}
	}
}
