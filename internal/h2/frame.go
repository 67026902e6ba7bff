package h2

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

const (
	// frameHeader is how many bytes precede a frame's payload.
	frameHeader = 9
	// maxFrame is the payload that everybody takes. Larger ones would save nothing: it is also what a TLS record holds.
	maxFrame = 16 << 10
	// firstWindow is what may be sent before the client has said otherwise.
	firstWindow = 65535
	maxWindow   = 1<<31 - 1
)

func appendFrame(b []byte, t http2.FrameType, flags http2.Flags, id uint32, size int) []byte {
	b = append(b, byte(size>>16), byte(size>>8), byte(size), byte(t), byte(flags))
	return binary.BigEndian.AppendUint32(b, id)
}

func appendReset(b []byte, id uint32, code http2.ErrCode) []byte {
	b = appendFrame(b, http2.FrameRSTStream, 0, id, 4)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

// appendCredit lets the client send n bytes more; id 0 is the connection.
func appendCredit(b []byte, id uint32, n int) []byte {
	b = appendFrame(b, http2.FrameWindowUpdate, 0, id, 4)
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

func appendPing(b []byte, flags http2.Flags, data [8]byte) []byte {
	b = appendFrame(b, http2.FramePing, flags, 0, len(data))
	return append(b, data[:]...)
}

func appendGoAway(b []byte, last uint32, code http2.ErrCode) []byte {
	b = appendFrame(b, http2.FrameGoAway, 0, 0, 8)
	b = binary.BigEndian.AppendUint32(b, last)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

func appendSettings(b []byte, settings ...http2.Setting) []byte {
	b = appendFrame(b, http2.FrameSettings, 0, 0, 6*len(settings))
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, uint16(s.ID))
		b = binary.BigEndian.AppendUint32(b, s.Val)
	}
	return b
}

// appendHeaders appends a block of headers in as many frames as it needs.
func appendHeaders(b []byte, id uint32, block []byte, end bool) []byte {
	t, flags := http2.FrameHeaders, http2.Flags(0)
	if end {
		flags = http2.FlagHeadersEndStream
	}
	for {
		piece := block[:min(len(block), maxFrame)]
		block = block[len(piece):]
		if len(block) == 0 {
			flags |= http2.FlagHeadersEndHeaders
		}
		b = append(appendFrame(b, t, flags, id, len(piece)), piece...)
		if len(block) == 0 {
			return b
		}
		t, flags = http2.FrameContinuation, 0
	}
}
