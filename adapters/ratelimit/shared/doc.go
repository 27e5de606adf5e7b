// Package shared counts the events of rate limits in a Valkey or Redis server (5 or newer) that all nodes share. The server
// decides, by the generic cell rate algorithm (GCRA, ITU-T I.371) and its own clock, in one round trip. A node that does not
// get its answer in time decides by itself, in memory, by its share of the limit: the limit divided by the number of nodes
// that the store last told of. See docs/decisions/0034.
//
// What is in the store may be lost or flushed at any time: every key then has its whole limit again.
package shared
