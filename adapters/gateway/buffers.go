package gateway

import "sync"

// buffer is memory for a body on its way, from a pool of its size: a small answer does not hold the memory of a large one.
type buffer struct {
	bytes []byte
	pool  *sync.Pool
}

const (
	smallSize = 4 << 10
	copySize  = 32 << 10 // what a stream is copied through
)

var smallBuffers, copyBuffers, wholeBuffers = poolOf(smallSize), poolOf(copySize), poolOf(wholeMost)

func poolOf(size int) *sync.Pool {
	p := &sync.Pool{}
	p.New = func() any { return &buffer{make([]byte, size), p} }
	return p
}

// bufferOf returns a buffer for n bytes, at most wholeMost.
func bufferOf(n int64) *buffer {
	pool := wholeBuffers
	switch {
	case n <= smallSize:
		pool = smallBuffers
	case n <= copySize:
		pool = copyBuffers
	}
	return pool.Get().(*buffer)
}

// free gives the buffer back, once; nobody may use it after that.
func (b *buffer) free() { b.pool.Put(b) }
