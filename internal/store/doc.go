// Package store keeps what is deployed: a catalogue of immutable records and moving aliases, and blobs by digest. It
// implements functions.Catalogue and functions.Blobs twice, and one suite (package storetest) holds both to the same
// behaviour.
//
// [Open] returns a [Store] for a URL. A folder is for one machine: several processes may share it. Redis is for
// several machines: what is deployed through one node is seen by all.
//
// A folder has blobs/HEX, records/KIND/HEX.json, aliases.json and lock. Every file is written beside its place, synced
// and renamed, so that a reader sees a whole file or none. The lock is flock on the file "lock": the kernel gives it
// back when a process dies. What a killed process left half-written is removed by the next Open.
//
// Redis has, under the prefix "catenary:", one string per record, one hash of all aliases, one channel that announces
// their changes, and one hash per blob with pieces of 1 MiB. A blob is uploaded under a name of its own that expires,
// and takes its place in one step when its digest has proved right.
//
// Caveats:
//   - A watcher of a folder sees the changes of its own Store at once, those of others within 200 ms. A watcher of Redis
//     sees all changes at once, and after a lost connection everything that changed meanwhile.
//   - Blobs are checked against their digest when they are stored, when they are fetched from Redis, and while a reader of
//     Open reads them to the end. Path does not read again what lies in the folder already.
//   - The files that Path fetches from Redis stay in the node's folder until somebody deletes them.
//   - Redis must not evict (maxmemory-policy noeviction, its default), and is one server: no Redis Cluster. An answer of a
//     write is worth what the server's own persistence is worth.
//   - Nothing is ever deleted: records and blobs are small or shared, and an old run may still need them.
package store
