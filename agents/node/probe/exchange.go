package probe

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// firstLook is how long the exchange of a container that comes up is left alone before it is looked at; each time that
// there is no answer yet, it is left alone for twice as long. All others are looked at with the next tick.
const firstLook = 4 * time.Millisecond

// maxHeader bounds the header of an answer.
const maxHeader = 64 << 10

// errRedirected is the end of an exchange that somebody has to go on with elsewhere.
var errRedirected = errors.New("redirected")

// question is what a probe asks that needs nothing but a connection to an address: a TCP probe, or a plain HTTP one.
type question struct {
	to   netip.AddrPort
	get  *http.Request // nil for TCP
	text []byte        // of get
}

// question makes up the job's; nil when there is more to it.
func (j *job) question() *question {
	handler, host := &j.probe.ProbeHandler, j.Host
	var q question
	var port int
	var err error
	switch {
	case handler.HTTPGet != nil && handler.HTTPGet.Scheme != corev1.URISchemeHTTPS:
		if q.get, err = request(context.Background(), j.Spec, host, handler.HTTPGet); err != nil {
			return nil
		}
		q.get.Close = true
		var text bytes.Buffer
		if err := q.get.Write(&text); err != nil {
			return nil
		}
		q.text, host = text.Bytes(), q.get.URL.Hostname()
		port, err = Port(j.Spec, handler.HTTPGet.Port)
	case handler.HTTPGet == nil && handler.TCPSocket != nil:
		if handler.TCPSocket.Host != "" {
			host = handler.TCPSocket.Host
		}
		port, err = Port(j.Spec, handler.TCPSocket.Port)
	default:
		return nil
	}
	addr, noAddr := netip.ParseAddr(host)
	if err != nil || noAddr != nil || !addr.Is4() || port <= 0 || port > 1<<16-1 {
		return nil
	}
	q.to = netip.AddrPortFrom(addr, uint16(port))
	return &q
}

// exchange is a question that has been asked. It has no goroutine and never blocks: step is called from time to time
// until it says that it is done. So any number of them costs one wake-up of one thread, where a goroutine each and the
// runtime's poller cost a dozen for each.
type exchange struct {
	*question
	job            *job
	fd             int
	connected      bool
	unsent, got    []byte
	next, deadline time.Time
	pause          time.Duration // before the next look, unless a tick comes before
}

// ask begins an exchange.
func (q *question) ask(j *job, now time.Time) *exchange {
	x := &exchange{question: q, job: j, fd: -1, unsent: q.text, deadline: now.Add(j.timeout()), pause: tick}
	if j.early(now) {
		x.pause = firstLook
	}
	return x
}

// step does what can be done without waiting. The error is the result once it is done.
func (x *exchange) step(now time.Time) (done bool, err error) {
	if !x.connected {
		if done, err := x.connect(); done {
			return true, x.failure(err)
		}
	}
	if x.connected {
		if x.get == nil {
			return true, nil
		}
		if done, err := x.converse(); done {
			return true, x.failure(err)
		}
	}
	if !now.Before(x.deadline) {
		return true, x.failure(x.late())
	}
	x.next = nextTick(now.Add(1))
	if soon := now.Add(x.pause); soon.Before(x.next) {
		x.next, x.pause = soon, x.pause*2
	}
	return false, nil
}

// lookAt is when step is worth calling again.
func (x *exchange) lookAt() time.Time {
	if x.deadline.Before(x.next) {
		return x.deadline
	}
	return x.next
}

func (x *exchange) connect() (done bool, err error) {
	if x.fd < 0 {
		if x.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return true, x.broken("dial", "socket", err)
		}
		// The first call begins, the next one asks: on one machine the handshake is over when the first one returns.
		err = unix.Connect(x.fd, x.sockaddr())
	}
	if err == nil || err == unix.EINPROGRESS {
		err = unix.Connect(x.fd, x.sockaddr())
	}
	switch err {
	case nil, unix.EISCONN:
		x.connected = true
		return false, nil
	case unix.EALREADY, unix.EINPROGRESS, unix.EINTR:
		return false, nil
	}
	return true, x.broken("dial", "connect", err)
}

func (x *exchange) sockaddr() unix.Sockaddr {
	return &unix.SockaddrInet4{Addr: x.to.Addr().As4(), Port: int(x.to.Port())}
}

// broken is an error of a system call in the words of package net.
func (x *exchange) broken(op, call string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: net.TCPAddrFromAddrPort(x.to), Err: os.NewSyscallError(call, err)}
}

// errLate says that there was no time left for an HTTP probe.
var errLate = fmt.Errorf("%w (Client.Timeout exceeded while awaiting headers)", context.DeadlineExceeded)

func (x *exchange) late() error {
	if x.get == nil {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(x.to), Err: os.ErrDeadlineExceeded}
	}
	return errLate
}

// failure is an error in the words of who asked.
func (x *exchange) failure(err error) error {
	if err == nil || x.get == nil || err == errRedirected || errors.As(err, new(badStatus)) {
		return err
	}
	return &url.Error{Op: "Get", URL: x.get.URL.String(), Err: err}
}

// converse sends the request and takes the answer.
func (x *exchange) converse() (done bool, err error) {
	for len(x.unsent) > 0 {
		n, err := unix.SendmsgN(x.fd, x.unsent, nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EAGAIN || err == unix.EINTR {
			return false, nil
		}
		if err != nil {
			return true, x.broken("write", "write", err)
		}
		x.unsent = x.unsent[n:]
	}
	var piece [4 << 10]byte
	for {
		n, err := unix.Read(x.fd, piece[:])
		if err == unix.EAGAIN || err == unix.EINTR {
			return false, nil
		}
		if err != nil {
			return true, x.broken("read", "read", err)
		}
		x.got = append(x.got, piece[:n]...)
		if done, err := x.judge(n == 0); done {
			return true, err
		}
	}
}

// judge looks at what has come of the answer so far; ended when there is no more.
func (x *exchange) judge(ended bool) (done bool, err error) {
	reader := bufio.NewReader(bytes.NewReader(x.got))
	res, err := http.ReadResponse(reader, x.get)
	for err == nil && res.StatusCode < http.StatusOK && res.StatusCode != http.StatusSwitchingProtocols {
		res, err = http.ReadResponse(reader, x.get) // the answer is still to come
	}
	switch {
	case ended && len(x.got) == 0:
		return true, io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF) && !ended && len(x.got) < maxHeader:
		return false, nil
	case errors.Is(err, io.ErrUnexpectedEOF) && !ended:
		return true, fmt.Errorf("server response headers exceeded %d bytes", maxHeader)
	case err != nil:
		return true, err
	}
	defer res.Body.Close()
	n, err := io.CopyN(io.Discard, res.Body, maxBody)
	complete := n == maxBody || err == io.EOF && (ended || res.ContentLength >= 0 || len(res.TransferEncoding) > 0)
	cut := err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) // and not malformed
	switch {
	case !complete && cut && !ended:
		return false, nil
	case !complete:
		return true, err
	case redirects(res):
		return true, errRedirected
	}
	return true, verdict(res)
}

func (x *exchange) close() {
	if x.fd >= 0 {
		_ = unix.Close(x.fd)
		x.fd = -1
	}
}
