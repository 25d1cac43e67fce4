// Package sandboxtest is the conformance suite of package sandbox: what every driver must do, whatever it runs.
//
// [Run] drives one driver with the function of package fixture, built for that driver. [Config] says how to make the
// driver and the artifact, and what the driver can't do by its nature.
//
// Caveats:
//   - A wrong driver may hang; the suite then fails by the test binary's own time limit, with the stacks.
//   - It is for tests. It imports functions/value to write the fixture's inputs.
package sandboxtest
