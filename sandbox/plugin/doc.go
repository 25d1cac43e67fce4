// Package plugin is the sandbox driver for functions of kind plugin: native processes that speak the protocol of
// docs/plugins.md, which is go-plugin's over gRPC.
//
// A [Driver] checks an artifact, keeps an executable copy of it, and starts it once to ask what it serves. An instance
// is one process. It is started through the hidden subcommand `catenary confine`, which is [Confine]: that opens the
// copy, hashes the open descriptor, gives up what the process must not have, and executes this very descriptor.
//
// A call sends its input and receives its output side by side. Where the input is a stream, a plugin that says what it has
// taken is fed a few items ahead of that, no further, and told which turns are over.
//
// What holds a plugin: no_new_privs, limits of data memory, descriptors, tasks and core files, an empty environment, a
// socket folder of its own that nobody else can enter and, where the node is root, a user of its own, made from its
// process id. It is process 1 of a PID namespace, so that the kernel ends all its descendants with it. It dies with the
// node, by parent-death signal. Its memory and that of its descendants is looked at while a call runs.
//
// Caveats:
//   - Linux only. Elsewhere Prepare says so.
//   - A plugin is confined, not contained: it sees the file system and the network that its user may see.
//   - Without root there is no user of its own: a plugin can do what the node's user can.
//   - Where the kernel lends no PID namespace, descendants outlive a node that is killed. When a plugin ends otherwise,
//     its process group and all processes of its own user are killed; other descendants outlive it.
//   - As process 1 a plugin inherits and has to reap orphans, and a signal without a handler does not end it, but for
//     SIGKILL and faults.
//   - The kernel's own limit of memory is for each process, on what is private and writable, plus an allowance for what
//     a runtime reserves but does not use; see memAllowance.
//   - The cause of a death is read from the exit state and from the last lines of standard error, as well as that goes.
package plugin
