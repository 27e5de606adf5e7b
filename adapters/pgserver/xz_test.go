package pgserver

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// storeXZ writes the .xz form (xz-file-format 1.2.1) of data without compressing it: one block of stored LZMA2 chunks, no
// check of the content.
func storeXZ(data []byte) []byte {
	sum := func(b []byte) []byte { return binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)) }
	pad := func(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }

	flags := []byte{0, 0} // no check
	var out bytes.Buffer
	out.WriteString("\xfd7zXZ\x00")
	out.Write(flags)
	out.Write(sum(flags))

	header := []byte{2, 0, 0x21, 1, 0x16, 0, 0, 0} // 12 bytes with its sum; one filter: LZMA2, dictionary 8 MiB
	header = append(header, sum(header)...)
	var block []byte
	for rest, kind := data, byte(1); len(rest) > 0; kind = 2 { // 1: stored, a new dictionary; 2: stored
		n := min(len(rest), 1<<16)
		block = append(block, kind, byte((n-1)>>8), byte(n-1))
		block = append(block, rest[:n]...)
		rest = rest[n:]
	}
	block = append(block, 0)
	out.Write(header)
	out.Write(pad(bytes.Clone(block)))

	index := []byte{0, 1} // one record
	index = binary.AppendUvarint(index, uint64(len(header)+len(block)))
	index = binary.AppendUvarint(index, uint64(len(data)))
	index = pad(index)
	index = append(index, sum(index)...)
	out.Write(index)

	footer := binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1))
	footer = append(footer, flags...)
	out.Write(sum(footer))
	out.Write(footer)
	out.WriteString("YZ")
	return out.Bytes()
}
