// Package rolestest is the test of several processes: gateways and nodes as `catenary serve --role` starts them, the
// store between them in Redis or in a folder, and what happens when one of them dies. It has no code of its own.
//
// Caveats:
//   - The processes are real, and so is the redis-server. Every node compiles its functions anew, which is most of the
//     time that these tests take.
package rolestest
