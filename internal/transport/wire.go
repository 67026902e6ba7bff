package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// prefixSize is what stands before each message: whether it is compressed, and its size.
const prefixSize = 5

// wireCall is a call that came over HTTP/2, as its handler sees it.
type wireCall struct {
	ctx    context.Context
	cancel context.CancelFunc
	w      http.ResponseWriter
	body   io.Reader
	unpack encoding.Compressor

	// mu guards what follows; a handler may receive and send at the same time.
	mu                sync.Mutex
	headers, trailers metadata.MD
	opened            bool

	follow [][]byte
	Pulled
}

var _ grpc.ServerStream = (*wireCall)(nil)

type wireKey struct{}

// Wire is a call whose answer is sent to another process.
type Wire struct{ call *wireCall }

// OnWire returns the call whose handler has this context if its answer is sent to another process.
func OnWire(ctx context.Context) (wire Wire, ok bool) {
	wire.call, ok = ctx.Value(wireKey{}).(*wireCall)
	return wire, ok
}

// Follow has bytes sent after those of the only message of the answer, as a part of it: large ones need not be copied into it.
func (w Wire) Follow(parts ...[]byte) { w.call.follow = parts }

// Context implements grpc.ServerStream.
func (c *wireCall) Context() context.Context { return c.ctx }

// SetHeader implements grpc.ServerStream.
func (c *wireCall) SetHeader(md metadata.MD) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opened {
		return status.Error(codes.Internal, "headers are sent once")
	}
	c.headers = metadata.Join(c.headers, md)
	return nil
}

// SendHeader implements grpc.ServerStream.
func (c *wireCall) SendHeader(md metadata.MD) error {
	if err := c.SetHeader(md); err != nil {
		return err
	}
	c.open()
	return nil
}

func (c *wireCall) open() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.opened {
		c.opened = true
		putMetadata(c.w.Header(), c.headers)
		c.w.WriteHeader(http.StatusOK)
	}
}

// SetTrailer implements grpc.ServerStream.
func (c *wireCall) SetTrailer(md metadata.MD) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trailers = metadata.Join(c.trailers, md)
}

// buffers are for messages of the usual sizes.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

const (
	maxBuffer = 64 << 10
	maxGather = 16 << 10
)

// SendMsg implements grpc.ServerStream.
func (c *wireCall) SendMsg(m any) error {
	buf := buffers.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= maxBuffer {
			buffers.Put(buf)
		}
	}()
	frame := append((*buf)[:0], make([]byte, prefixSize)...)
	var err error
	if frame, err = appendMessage(frame, m); err != nil {
		return err
	}
	*buf = frame
	size := len(frame) - prefixSize
	for _, part := range c.follow {
		size += len(part)
	}
	if size > MaxMessageBytes {
		return status.Errorf(codes.ResourceExhausted, "the answer is larger than the %d bytes that are sent at most", MaxMessageBytes)
	}
	binary.BigEndian.PutUint32(frame[1:], uint32(size))
	c.open() // what follows goes out with it
	return c.write(frame, c.follow)
}

func appendMessage(b []byte, m any) ([]byte, error) {
	p, ok := m.(proto.Message)
	if !ok {
		return nil, status.Errorf(codes.Internal, "%T is not a protobuf message", m)
	}
	out, err := proto.MarshalOptions{}.MarshalAppend(b, p)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "encode %T: %v", m, err)
	}
	return out, nil
}

// write sends a message's own bytes and the parts that follow; small ones are gathered, for each write makes a frame.
func (c *wireCall) write(buf []byte, parts [][]byte) error {
	for _, part := range parts {
		if len(buf)+len(part) > maxGather && len(buf) > 0 {
			if _, err := c.w.Write(buf); err != nil {
				return c.gone()
			}
			buf = buf[:0]
		}
		if len(part) <= maxGather {
			buf = append(buf, part...)
		} else if _, err := c.w.Write(part); err != nil {
			return c.gone()
		}
	}
	if _, err := c.w.Write(buf); err != nil {
		return c.gone()
	}
	return nil
}

func (c *wireCall) gone() error {
	if err := c.ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	return status.FromContextError(context.Canceled).Err()
}

// decompress chooses how messages are unpacked that are packed.
func (c *wireCall) decompress(name string) error {
	if name == "" || name == encoding.Identity {
		return nil
	}
	if c.unpack = encoding.GetCompressor(name); c.unpack == nil {
		return status.Errorf(codes.Unimplemented, "grpc: Decompressor is not installed for grpc-encoding %q", name)
	}
	return nil
}

// RecvMsg implements grpc.ServerStream.
func (c *wireCall) RecvMsg(m any) error {
	var prefix [prefixSize]byte
	if _, err := io.ReadFull(c.body, prefix[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		return c.gone()
	}
	size := binary.BigEndian.Uint32(prefix[1:])
	if size > maxRequestBytes {
		return tooLarge()
	}
	raw, err := readBody(c.body, int(size))
	if err != nil {
		return c.gone()
	}
	if prefix[0] != 0 {
		if raw, err = c.unpacked(raw); err != nil {
			return err
		}
	}
	p, ok := m.(proto.Message)
	if !ok {
		return status.Errorf(codes.Internal, "%T is not a protobuf message", m)
	}
	if err := proto.Unmarshal(raw, p); err != nil {
		return status.Errorf(codes.Internal, "decode %T: %v", m, err)
	}
	return nil
}

func tooLarge() error {
	return status.Errorf(codes.ResourceExhausted, "a message is larger than the %d bytes that are taken at most", maxRequestBytes)
}

// readBody reads so many bytes. Nobody gets much room for what he only says that he will send.
func readBody(r io.Reader, size int) ([]byte, error) {
	const atOnce = 4 << 10
	if size <= atOnce {
		raw := make([]byte, size)
		_, err := io.ReadFull(r, raw)
		return raw, err
	}
	var raw bytes.Buffer
	n, err := raw.ReadFrom(io.LimitReader(r, int64(size)))
	if err == nil && n < int64(size) {
		err = io.ErrUnexpectedEOF
	}
	return raw.Bytes(), err
}

func (c *wireCall) unpacked(raw []byte) ([]byte, error) {
	if c.unpack == nil {
		return nil, status.Error(codes.Internal, "a message is compressed, but nothing says how")
	}
	r, err := c.unpack.Decompress(bytes.NewReader(raw))
	if err != nil {
		return nil, status.Errorf(codes.Internal, "decompress a message: %v", err)
	}
	out, err := io.ReadAll(io.LimitReader(r, maxRequestBytes+1))
	if err != nil {
		return nil, status.Errorf(codes.Internal, "decompress a message: %v", err)
	}
	if len(out) > maxRequestBytes {
		return nil, tooLarge()
	}
	return out, nil
}
