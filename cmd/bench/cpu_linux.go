package main

import (
	"os"
	"strconv"
	"strings"
)

const tickMicros = 10_000 // /proc counts in hundredths of a second

// usedCPU reads what this run's processes have used so far, in microseconds. Those that have ended count with their
// parents. What cannot be read counts as nothing.
func (r *rig) usedCPU(proxy *child) cpu {
	var c cpu
	self := os.Getpid()
	c.Generator, _ = procCPU(self, false)
	c.Upstream, _ = procCPU(r.upstream.cmd.Process.Pid, false)
	c.Proxy, _ = procCPU(proxy.cmd.Process.Pid, false)
	server := 0
	for _, pid := range postgresOf(self) {
		server = pid
		c.Database, _ = procCPU(pid, true)
	}
	for _, pid := range postgresOf(server) {
		used, _ := procCPU(pid, true)
		c.Database += used
	}
	return c
}

// postgresOf returns the PostgreSQL processes whose parent is pid.
func postgresOf(pid int) (found []int) {
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		child, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if name, f := procStat(child); name == "postgres" && f[1] == strconv.Itoa(pid) {
			found = append(found, child)
		}
	}
	return found
}

// procCPU is the time a process used, and those of its children that have ended.
func procCPU(pid int, children bool) (micros float64, ok bool) {
	_, f := procStat(pid)
	last := 12 // utime, stime, then the same of ended children
	if children {
		last = 14
	}
	if len(f) <= last {
		return 0, false
	}
	for _, ticks := range f[11 : last+1] {
		n, err := strconv.ParseFloat(ticks, 64)
		if err != nil {
			return 0, false
		}
		micros += n * tickMicros
	}
	return micros, true
}

// procStat returns a process's name, and the fields of its state that follow the name.
func procStat(pid int) (name string, fields []string) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", nil // it has ended
	}
	s := string(text)
	open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	if open < 0 || end < open {
		return "", nil
	}
	return s[open+1 : end], strings.Fields(s[end+1:])
}
