package rolestest

import (
	"errors"
	"strings"
	"testing"

	"github.com/catenary-run/catenary/functions"
	"github.com/catenary-run/catenary/internal/project"
	"github.com/catenary-run/catenary/internal/rolestest/testdata/contract"
	"github.com/catenary-run/catenary/internal/testkit"
	"github.com/catenary-run/catenary/sdk"
	"github.com/catenary-run/catenary/sdk/client"
)

// TestTwoGateways is the life of two servers that share one Redis and nothing else.
func TestTwoGateways(t *testing.T) {
	keep := []string{"--appendonly", "yes", "--appendfsync", "always", "--dir", t.TempDir()}
	port := testkit.FreePort(t)
	redis := testkit.StartRedis(t, port, keep...)
	dataB := t.TempDir()
	a := testkit.Serve(t, "--store", redis.URL(), "--data", t.TempDir())
	b := testkit.Serve(t, "--store", redis.URL(), "--data", dataB)

	drip.deploy(t, a)
	announced(t, b, 1)
	if got := ask(t, b, "drip", `{"count":3}`); got != "[0,1,2]" {
		t.Errorf("B answers %s, want what was deployed on A", got)
	}

	last, err := lastDrip.Describe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, a).Deploy(t.Context(), bundle(t, last)); err != nil {
		t.Fatal(err)
	}
	announced(t, b, 2)
	if got := ask(t, b, "drip", `{"count":3}`); got != "2" {
		t.Errorf("B answers %s, want the last number", got)
	}

	b.Stop(t)
	b = testkit.Serve(t, "--store", redis.URL(), "--data", dataB)
	if got := ask(t, b, "drip", `{"count":4}`); got != "3" {
		t.Errorf("B answers %s after a restart, want the last number", got)
	}

	redis.Stop(t)
	for _, s := range []*testkit.Server{a, b} {
		if got := ask(t, s, "drip", `{"count":5}`); got != "4" {
			t.Errorf("without Redis %s answers %s", s.URL, got)
		}
	}
	_, err = connect(t, a).Deploy(t.Context(), bundle(t))
	unavailable(t, redis, err)

	testkit.StartRedis(t, port, keep...)
	testkit.Eventually(t, "a deploy to work again", func() bool {
		_, err = connect(t, a).Deploy(t.Context(), bundle(t))
		if err != nil && !functions.Retryable(err) {
			t.Fatal(err)
		}
		return err == nil
	})
	// B is told again, too, or looks it up until then: either way it does not stay behind.
	testkit.Eventually(t, "B to answer as the new chain does", func() bool { return ask(t, b, "drip", `{"count":3}`) == "[0,1,2]" })
}

// TestRedisLosesWrites: Redis comes back with an older state, then with none. Two servers answer as it says, not as they
// remember, and a deploy to one is again seen at the other.
func TestRedisLosesWrites(t *testing.T) {
	port, dir := testkit.FreePort(t), t.TempDir()
	redis := testkit.StartRedis(t, port, "--dir", dir)
	a := testkit.Serve(t, "--store", redis.URL(), "--data", t.TempDir())
	b := testkit.Serve(t, "--store", redis.URL(), "--data", t.TempDir())
	last, err := lastDrip.Describe()
	if err != nil {
		t.Fatal(err)
	}
	deploy := func(s *testkit.Server, chains ...sdk.ChainDescription) {
		t.Helper()
		testkit.Eventually(t, "a deploy", func() bool {
			_, err := connect(t, s).Deploy(t.Context(), bundle(t, chains...))
			if err != nil && !functions.Retryable(err) {
				t.Fatal(err)
			}
			return err == nil
		})
	}
	answers := func(s *testkit.Server, want string) {
		t.Helper()
		testkit.Eventually(t, s.URL+" to answer "+want, func() bool { return ask(t, s, "drip", `{"count":3}`) == want })
	}
	deploy(a)
	redis.Save(t)
	deploy(a, last)
	answers(a, "2")
	answers(b, "2")

	redis.Stop(t)
	redis = testkit.StartRedis(t, port, "--dir", dir) // what was saved, without the second version
	answers(a, "[0,1,2]")
	answers(b, "[0,1,2]")
	deploy(a, last)
	answers(b, "2")

	redis.Stop(t)
	testkit.StartRedis(t, port) // nothing
	for _, s := range []*testkit.Server{a, b} {
		testkit.Eventually(t, s.URL+" to know no chain", func() bool {
			_, err := tryAsk(t, s, "drip", `{"count":3}`)
			return errors.Is(err, functions.ErrNotFound)
		})
	}
	deploy(b)
	answers(a, "[0,1,2]")
	answers(b, "[0,1,2]")
	// All that it takes was sent again, though A and B have copies of their own.
	answers(testkit.Serve(t, "--store", redis.URL(), "--data", t.TempDir()), "[0,1,2]")
}

// unavailable checks the error of a deploy without Redis.
func unavailable(t *testing.T, redis *testkit.Redis, err error) {
	t.Helper()
	if !errors.Is(err, functions.ErrUnavailable) || !functions.Retryable(err) || !strings.Contains(err.Error(), redis.Addr) {
		t.Errorf("deploy without Redis: got %v, want a retryable %v that says where Redis is missing", err, functions.ErrUnavailable)
	}
}

// announced waits until the watch has told s of n versions of the chain drip. The chain was not called on s meanwhile,
// so that s can't have looked it up.
func announced(t *testing.T, s *testkit.Server, n int) {
	t.Helper()
	testkit.Eventually(t, "the other gateway to be told", func() bool {
		return strings.Count(s.Talk(), `msg="chain announced" chain=drip`) == n
	})
}

// lastDrip is the chain drip in another version: it answers with one number.
var lastDrip = sdk.MustDefine("drip", func(s *sdk.Steps, ask sdk.Val[contract.Ask]) sdk.Val[int] {
	return sdk.Last(s, sdk.Call(s, contract.Drip, ask))
})

// bundle is the project drip, with other chains if some are given.
func bundle(t *testing.T, chains ...sdk.ChainDescription) client.Bundle {
	t.Helper()
	b, err := project.Open(drip.built(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(chains) == 0 {
		chains = b.Chains
	}
	return client.Bundle{Manifests: b.Manifests, Models: b.Models, Chains: chains, Open: b.OpenBlob}
}
