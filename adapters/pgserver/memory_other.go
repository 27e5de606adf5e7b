//go:build !linux

package pgserver

// tempParent is where temporary folders are made; "": where the system has them.
func tempParent(bool) string { return "" }
