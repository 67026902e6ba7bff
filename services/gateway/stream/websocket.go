package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	utilexec "k8s.io/utils/exec"
)

// channels are numbered as the subprotocols say.
const (
	channelStdin = iota
	channelStdout
	channelStderr
	channelError
	channelResize
	channelCount
)

// webSocketProtocols are the subprotocols of exec and attach. Version 4 added exit codes as a Status, version 5 the
// closing of single channels.
var webSocketProtocols = []struct {
	name           string
	binary, status bool
}{
	{"", true, false},
	{"channel.k8s.io", true, false},
	{"base64.channel.k8s.io", false, false},
	{"v4.channel.k8s.io", true, true},
	{"v4.base64.channel.k8s.io", false, true},
	{halfClosing, true, true},
}

const halfClosing = "v5.channel.k8s.io"

func (s *Server) serveWebSocket(r *Request, o *session, opts *remotecommand.Options) {
	conn := wsstream.NewConn(channelConfig(opts))
	conn.SetIdleTimeout(idleTimeout)
	// The library logs every end of a connection as an error; ours are ended by the server.
	quiet := r.HTTP.WithContext(klog.NewContext(r.HTTP.Context(), klog.Logger{}))
	protocol, streams, err := conn.Open(r.Writer, quiet)
	if err != nil {
		s.log.Debug("a WebSocket was not opened", zap.Error(err))
		return
	}
	defer func() { _ = conn.Close() }()
	// An empty message tells the client that it is connected. Clients of version 5 need none, and kubectl, which may not be
	// ready for it yet, would complain of an unknown stream.
	if protocol != halfClosing {
		_, _ = firstWritable(streams, opts).Write(nil)
	}

	var in io.Reader
	if opts.Stdin {
		in = streams[channelStdin]
	}
	sizes := make(chan remotecommand.TerminalSize)
	s.pumps.Go(func() {
		defer close(sizes)
		readSizes(o, streams[channelResize], sizes)
	})
	err = o.run(in, streams[channelStdout], streams[channelStderr], sizes)
	writeStatus(streams[channelError], hasStatus(protocol), o.told(err))
}

func channelConfig(opts *remotecommand.Options) map[string]wsstream.ChannelProtocolConfig {
	types := make([]wsstream.ChannelType, channelCount)
	for i, wanted := range []bool{opts.Stdin, opts.Stdout, opts.Stderr} {
		switch {
		case !wanted:
			types[i] = wsstream.IgnoreChannel
		case i == channelStdin:
			types[i] = wsstream.ReadChannel
		default:
			types[i] = wsstream.WriteChannel
		}
	}
	types[channelError], types[channelResize] = wsstream.WriteChannel, wsstream.ReadChannel
	config := map[string]wsstream.ChannelProtocolConfig{}
	for _, p := range webSocketProtocols {
		config[p.name] = wsstream.ChannelProtocolConfig{Binary: p.binary, Channels: types}
	}
	return config
}

func hasStatus(protocol string) bool {
	for _, p := range webSocketProtocols {
		if p.name == protocol {
			return p.status
		}
	}
	return false
}

func firstWritable(streams []io.ReadWriteCloser, opts *remotecommand.Options) io.Writer {
	switch {
	case opts.Stdout:
		return streams[channelStdout]
	case opts.Stderr:
		return streams[channelStderr]
	}
	return streams[channelError]
}

// readSizes passes on the client's terminal sizes. The channel ends with the connection: then the client is gone, and
// so is the reason to run.
func readSizes(o *session, from io.Reader, to chan<- remotecommand.TerminalSize) {
	defer o.cancel()
	dec := json.NewDecoder(from)
	for {
		var size remotecommand.TerminalSize
		if err := dec.Decode(&size); err != nil {
			return
		}
		select {
		case to <- size:
		case <-o.stream.Context().Done():
			return
		}
	}
}

// writeStatus tells how the command ended: as a Status or, in the older protocols, as the text of a failure.
func writeStatus(w io.Writer, asStatus bool, err error) {
	st := statusOf(err)
	if !asStatus {
		if err != nil {
			_, _ = io.WriteString(w, st.Message)
		}
		return
	}
	if data, err := json.Marshal(&st); err == nil {
		_, _ = w.Write(data)
	}
}

func statusOf(err error) metav1.Status {
	if err == nil {
		return metav1.Status{Status: metav1.StatusSuccess}
	}
	var exit utilexec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return metav1.Status{
			Status: metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason,
			Message: "command terminated with non-zero exit code: " + err.Error(),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(exit.ExitStatus())}}},
		}
	}
	return metav1.Status{
		Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError, Code: http.StatusInternalServerError,
		Message: fmt.Sprintf("Internal error occurred: %v", err),
	}
}
