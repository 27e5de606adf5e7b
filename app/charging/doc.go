// Package charging is the money of a paid call on one gateway node: it sets vault money aside in leases, lets calls draw
// on them in memory, and makes each finished call and its charge one durable fact.
//
// The rules it keeps, whatever fails:
//   - a call is admitted only on money that the database has already set aside for this node, so nothing is overspent;
//   - what a hold reserved is charged once or given back once;
//   - a lease takes no new call long before the database may end it, and a charge on an ended lease is refused there;
//   - a caller waits for its charge as long as CommitTimeout and no longer, whatever hangs behind the journal;
//   - money whose record or lease is in doubt is not free again before that is known;
//   - a call that goes on for long keeps no other call's money from being booked;
//   - a caller is told "charged" only when the event and its money are on disk (durable mode), and a charge nobody was
//     told of is voided.
package charging
