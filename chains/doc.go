// Package chains checks chains and runs them.
//
// A [Graph] is a chain with every function and model that it names pinned to a version; its hash is what a run is
// pinned to. [Compile] checks a graph against the manifests, CEL expressions included, and makes a [Plan]. [Plan.Run]
// executes one [Run]: every edge is a bounded stream, every step that is live has a goroutine of its own, and all of
// them have ended when Run returns. [Mermaid] draws a chain.
//
// The caller owns the [functions.Invoker] and the sink of a run; chains owns the edges between the steps.
//
// Caveats:
//   - A Plan is immutable and may run many times at once. A Graph must not be changed once it is compiled.
//   - The input of a chain is one value. It has no type of its own: it is what the steps that read it take.
//   - A step's name is its identity, so names are unique in the whole chain. A step reads what is declared above it.
//   - In CEL, in stands for the chain's input where an operand is expected and remains the operator elsewhere.
//   - In CEL, a field that is absent reads as the zero value of its type, or as null if it may be null; has() tells. What
//     may be null is refused where no test, such as it.x != null &&, guards its use.
//   - Every step is read by a step, a case or the chain.
package chains
