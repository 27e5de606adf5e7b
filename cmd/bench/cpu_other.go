//go:build !linux

package main

// usedCPU is not known here; the columns stay at zero.
func (r *rig) usedCPU([]*child) cpu { return cpu{} }

// othersCPU is not known here.
func othersCPU() func() float64 { return func() float64 { return 0 } }
