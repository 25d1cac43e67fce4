package main

import (
	"testing"

	"github.com/catenary-run/catenary/internal/testkit"
)

// What nobody uses goes to sleep, and the next request is right.
func TestIdle_EverythingSleeps(t *testing.T) {
	t.Parallel()
	s := serve(t, "--idle", "1s")
	use := func() {
		wellGuest(t, s)
		wellHelper(t, s)
		wellEars(t, s)
		wellModel(t, s)
	}
	for range 2 {
		use()
		testkit.Eventually(t, "plugins to be cold, guests and the model to be parked, and no instance", func() bool {
			held := pools(t, s)
			for _, f := range held.Functions {
				want := map[string]string{"plugin": "cold", "wasm": "parked"}[f.Kind]
				if f.Instances != 0 || f.Tier != want {
					return false
				}
			}
			return len(held.Functions) == 4 && len(held.Models) == 1 && held.Models[0].Tier == "parked" && held.Models[0].Leases == 0
		})
		if left := plugins(t, s); len(left) > 0 {
			t.Errorf("plugins still run: %v", left)
		}
	}
	use()
}
