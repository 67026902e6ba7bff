package h2

import (
	"io"

	"golang.org/x/net/http2"
)

// act does what a frame asks for.
func (c *conn) act(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		return c.onHeaders(f)
	case *http2.DataFrame:
		return c.onData(f)
	case *http2.SettingsFrame:
		return c.onSettings(f)
	case *http2.WindowUpdateFrame:
		return c.onCredit(f)
	case *http2.RSTStreamFrame:
		return c.onReset(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.control(appendPing(c.buffer(), http2.FlagPingAck, f.Data))
		}
	case *http2.PushPromiseFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	// Priorities, a client's GOAWAY and frames of unknown types ask for nothing.
	return nil
}

func (c *conn) onSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if f.HasDuplicates() {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := f.ForeachSetting(c.setting); err != nil {
		return err
	}
	c.control(appendFrame(c.buffer(), http2.FrameSettings, http2.FlagSettingsAck, 0, 0))
	return nil
}

func (c *conn) setting(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return err
	}
	switch s.ID {
	case http2.SettingHeaderTableSize:
		c.encoder.SetMaxDynamicTableSize(min(s.Val, headerSize))
	case http2.SettingInitialWindowSize:
		delta := int(s.Val) - c.begin
		c.begin = int(s.Val)
		for _, st := range c.streams {
			if st.window += delta; st.window > maxWindow {
				return http2.ConnectionError(http2.ErrCodeFlowControl)
			}
			c.roomFor(st)
		}
	}
	return nil
}

func (c *conn) onCredit(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := int(f.Increment)
	if f.StreamID == 0 {
		if c.window += n; c.window > maxWindow {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		c.roomForAll()
		return nil
	}
	st := c.streams[f.StreamID]
	if st == nil {
		return c.mustHaveBegun(f.StreamID)
	}
	if st.window += n; st.window > maxWindow {
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeFlowControl}
	}
	c.roomFor(st)
	return nil
}

// mustHaveBegun refuses frames of streams that were never begun; those of streams that have ended are late. c.mu is held.
func (c *conn) mustHaveBegun(id uint32) error {
	if (id > c.last && !c.retired) || id%2 == 0 {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil
}

func (c *conn) onReset(f *http2.RSTStreamFrame) error {
	c.mu.Lock()
	st := c.streams[f.StreamID]
	err := c.mustHaveBegun(f.StreamID)
	stop := c.drop(st, errGone)
	c.mu.Unlock()
	stop()
	return err
}

func (c *conn) onData(f *http2.DataFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := int(f.Length) // with the padding
	if c.room -= size; c.room < 0 {
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	st := c.streams[f.StreamID]
	if st == nil { // it is late
		c.took(nil, size)
		return c.mustHaveBegun(f.StreamID)
	}
	if st.inErr != nil {
		c.took(nil, size)
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeStreamClosed}
	}
	if st.room -= size; st.room < 0 {
		c.took(nil, size)
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeFlowControl}
	}
	data := f.Data()
	c.took(st, size-len(data))
	st.got += int64(len(data))
	if st.declared >= 0 && (st.got > st.declared || f.StreamEnded() && st.got != st.declared) {
		c.took(nil, len(data))
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeProtocol}
	}
	st.receive(data)
	if f.StreamEnded() {
		st.inErr = io.EOF
		c.start(st)
	}
	if c.room < c.server.ConnWindow/2 { // else bodies that are waited for might keep each other out
		c.startAll()
	}
	st.changed.Broadcast()
	return nil
}

// took gives the client leave to send n bytes more. It is told once that is worth a frame. c.mu is held.
func (c *conn) took(st *stream, n int) {
	c.taken += n
	if c.taken >= c.server.ConnWindow/4 {
		c.room += c.taken
		c.control(appendCredit(c.buffer(), 0, c.taken))
		c.taken = 0
	}
	if st == nil || st.inErr != nil {
		return
	}
	st.taken += n
	if st.taken >= c.server.StreamWindow/4 {
		st.room += st.taken
		c.control(appendCredit(c.buffer(), st.id, st.taken))
		st.taken = 0
	}
}

// onHeaders begins a stream, or ends one whose client sends trailers.
func (c *conn) onHeaders(f *http2.MetaHeadersFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := f.StreamID
	if st := c.streams[id]; st != nil {
		if st.inErr != nil {
			return http2.StreamError{StreamID: id, Code: http2.ErrCodeStreamClosed}
		}
		if !f.StreamEnded() || len(f.PseudoFields()) > 0 || st.declared >= 0 && st.got != st.declared {
			return http2.StreamError{StreamID: id, Code: http2.ErrCodeProtocol}
		}
		st.inErr = io.EOF
		c.start(st)
		st.changed.Broadcast()
		return nil
	}
	if id%2 == 0 || id <= c.last {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if c.retired {
		return nil // the client was told that these are not served; it tries elsewhere
	}
	c.last = id
	if c.active >= int(c.server.MaxStreams) {
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeRefusedStream}
	}
	return c.open(f)
}
