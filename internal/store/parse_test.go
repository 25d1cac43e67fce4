package store

import (
	"testing"

	"github.com/catenary-run/catenary/functions"
)

// FuzzParseAliases: a file of aliases, or an entry in Redis, is either an error or sound.
func FuzzParseAliases(f *testing.F) {
	d := string(functions.DigestOf(nil))
	f.Add([]byte(`[{"name":"chain/a","digest":"` + d + `","rev":1},{"name":"chain/b","digest":"` + d + `","rev":2}]`))
	f.Add([]byte(`[{"name":"chain/b","digest":"` + d + `","rev":1},{"name":"chain/a","digest":"` + d + `","rev":2}]`))
	f.Add([]byte(`{"name":"chain/a","digest":"` + d + `","rev":1,"by":"x"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := parseAliases(data)
		for i, a := range all {
			if err == nil && (checkAlias(a) != nil || i > 0 && all[i-1].Name >= a.Name) {
				t.Errorf("unsound: %v", all)
			}
		}
		if a, err := parseAlias("chain/a", data); err == nil && (checkAlias(a) != nil || a.Name != "chain/a") {
			t.Errorf("unsound: %v", a)
		}
	})
}
