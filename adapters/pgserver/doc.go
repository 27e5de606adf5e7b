// Package pgserver runs a private PostgreSQL server for the demo, the tests and the benchmark: on loopback, on a free
// port, in a folder of its own, ended with the process that started it, however that ends. It uses the PostgreSQL of the
// machine, or fetches one.
package pgserver
