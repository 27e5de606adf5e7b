//go:build !linux

package main

import "time"

func exactly() {}

func pause(d time.Duration) { time.Sleep(d) }
