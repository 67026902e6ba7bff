package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"karve.dev/karve/integration/cluster"
)

// server runs commands; who connects to its ports is echoed, or told the digest of what was sent when that has ended.
const server = `
apiVersion: v1
kind: Pod
metadata: {name: server}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: my-app, imagePullPolicy: IfNotPresent, command: [sh, -c, "nc -ll -p 9000 -e cat & nc -ll -p 9001 -e sha256sum"]}
---
`

// talker says that it is there, and when it is told to go on a great many lines.
const talker = `
apiVersion: v1
kind: Pod
metadata: {name: talker-%d}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers:
  - {name: c, image: my-app, imagePullPolicy: IfNotPresent, command: [sh, -c, "echo ready; until [ -e /tmp/go ]; do sleep 0.1; done; seq 1 50000"]}
---
`

// attached repeats what it is told, or in a terminal waits until that has its size.
const attached = `
apiVersion: v1
kind: Pod
metadata: {name: attached-%d}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers:
  - {name: c, image: my-app, imagePullPolicy: IfNotPresent, stdin: true, stdinOnce: true, tty: %t, command: [sh, -c, '%s']}
---
`

const (
	repeats  = "cat; echo end >&2; exit 4"
	terminal = `until [ "$(stty size 2>&1)" = "33 111" ]; do sleep 0.1; done; read x; echo "got $x"; exit 4`
)

// How many of each: 200 streams.
const (
	talkers, readers    = 5, 12
	commands, terminals = 50, 20
	joined, joinedTTY   = 6, 4
	tunnels, through    = 12, 5
)

// TestTwoHundredStreams opens 200 streams, over WebSocket and SPDY: logs that are followed, commands, containers that are
// attached to, forwarded ports. All carry data at the same time, and all of it arrives: bytes, ends, exit codes. Afterwards
// nothing of them is left in the daemon, on the engine or in the pods.
func TestTwoHundredStreams(t *testing.T) {
	c := cluster.Start(t)
	s := newStreams(c, t)
	s.pods()
	id := container(c, "server", "c")
	t.Run("one of each", func(t *testing.T) { // what is kept for later uses is made by the first
		require.NoError(t, s.command(t.Context(), "server", 0, func() {}))
		require.NoError(t, s.command(t.Context(), "server", 1, func() {}))
		_, err := s.logs(t.Context(), "talker-0", &bytes.Buffer{}, false)
		require.NoError(t, err)
	})
	before := s.held()

	t.Run("200 at once", func(t *testing.T) {
		s.together(talkers*readers+commands+terminals+joined+joinedTTY+tunnels*through, func(all *gathering) {
			for i := range talkers * readers {
				all.add("logs", func(ctx context.Context, meet func()) error {
					return s.follow(ctx, fmt.Sprint("talker-", i%talkers), meet)
				})
			}
			for i := range commands {
				all.add("exec", func(ctx context.Context, meet func()) error { return s.command(ctx, "server", i, meet) })
			}
			for i := range terminals {
				all.add("exec -t", func(ctx context.Context, meet func()) error { return s.terminal(ctx, "server", "exec", i, meet) })
			}
			for i := range joined {
				all.add("attach", func(ctx context.Context, meet func()) error {
					return s.attach(ctx, fmt.Sprint("attached-", i), i, meet)
				})
			}
			for i := range joinedTTY {
				all.add("attach -t", func(ctx context.Context, meet func()) error {
					return s.terminal(ctx, fmt.Sprint("attached-", joined+i), "attach", i, meet)
				})
			}
			for i := range tunnels {
				ports := s.forward("server", i)
				for j := range through {
					all.add("port-forward", func(ctx context.Context, meet func()) error { return s.connection(ctx, ports, j%2, meet) })
				}
			}
		}, func() {
			require.Equal(t, commands+terminals, len(strings.Fields(c.Docker("inspect", "--format", "{{range .ExecIDs}}{{.}} {{end}}", id))), "commands run at once")
			for i := range talkers {
				c.Kubectl("exec", fmt.Sprint("talker-", i), "--", "sh", "-c", ": > /tmp/go")
			}
		})
		for i := range joined + joinedTTY {
			c.Eventually("it has ended with its own code", func() string {
				return expect("4", c.Kubectl("get", "pod", fmt.Sprint("attached-", i), "-o", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"))
			})
		}
	})
	s.stopForwarding()
	c.Eventually("nothing is left on the engine or in the pod", func() string {
		left := c.Docker("inspect", "--format", "{{.ExecIDs}}", id)
		top := c.Docker("top", id, "-eo", "pid,args")
		if left != "[]" || strings.Count(top, "\n") != 2 {
			return left + "\n" + top
		}
		return ""
	})
	s.nothingLeft(before)

	t.Run("who does not read costs no memory", func(t *testing.T) { s.stall(t) })
	s.nothingLeft(before)
}

// pods makes the pods and waits until they run.
func (s *streams) pods() {
	all := server
	for i := range talkers {
		all += fmt.Sprintf(talker, i)
	}
	for i := range joined {
		all += fmt.Sprintf(attached, i, false, repeats)
	}
	for i := range joinedTTY {
		all += fmt.Sprintf(attached, joined+i, true, terminal)
	}
	s.c.Apply(all)
	s.c.Kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
}

// stall runs commands and follows logs that have much more to say than is read for a while.
func (s *streams) stall(t *testing.T) {
	const each, size = 10, 8 << 20
	s.c.Apply(fmt.Sprintf(strings.ReplaceAll(talker, "seq 1 50000", "seq 1 500000"), 99))
	s.c.Kubectl("wait", "--for=condition=Ready", "pod/talker-99", "--timeout=60s")
	s.c.Kubectl("exec", "talker-99", "--", "sh", "-c", ": > /tmp/go")
	s.c.Kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/talker-99", "--timeout=60s")
	begun := s.heap()
	release := make(chan struct{})
	g, ctx := errgroup.WithContext(t.Context())
	var slow []*slowReader
	for i := range 2 * each {
		out := &slowReader{release: release, began: make(chan struct{})}
		slow = append(slow, out)
		g.Go(func() error {
			return s.run(ctx, "server", "exec", i, nil, out, nil, fmt.Sprintf("head -c %d /dev/zero", size))
		})
	}
	for range each {
		out := &slowReader{release: release, began: make(chan struct{})}
		slow = append(slow, out)
		g.Go(func() error {
			_, err := s.logs(ctx, "talker-99", out, true)
			return err
		})
	}
	for _, out := range slow {
		select {
		case <-out.began:
		case <-ctx.Done():
		}
	}
	// Whatever is read ahead is read soon.
	most := int64(0)
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		most = max(most, s.heap())
	}
	close(release)
	require.NoError(t, g.Wait())
	t.Logf("%d stalled streams took %d KiB each", len(slow), (most-begun)/int64(len(slow))>>10)
	require.Less(t, most-begun, int64(len(slow))*2<<20, "less than 2 MiB for each stream")
	for i, out := range slow {
		if i < 2*each {
			require.EqualValues(t, size, out.n)
		} else {
			require.EqualValues(t, 3388895+len("ready\n"), out.n)
		}
	}
}

// slowReader takes one piece, and no more before it is released.
type slowReader struct {
	release, began chan struct{}
	n              int64
}

func (r *slowReader) Write(data []byte) (int, error) {
	if r.n == 0 {
		close(r.began)
		<-r.release
	}
	r.n += int64(len(data))
	return len(data), nil
}

// held is what the daemon holds that streams might leave behind.
type held struct{ goroutines, files int }

func (s *streams) held() (h held) {
	entries, err := os.ReadDir(filepath.Join("/proc", s.c.PID(), "fd"))
	require.NoError(s.t, err)
	page := s.c.OwnPage("/debug/pprof/goroutine?debug=1")
	_, err = fmt.Sscanf(page, "goroutine profile: total %d", &h.goroutines)
	require.NoError(s.t, err)
	h.files = len(entries)
	return h
}

// heap is what the daemon's heap holds after a collection of garbage.
func (s *streams) heap() (n int64) {
	_, after, _ := strings.Cut(s.c.OwnPage("/debug/pprof/heap?gc=1&debug=1"), "# HeapInuse = ")
	_, err := fmt.Sscan(after, &n)
	require.NoError(s.t, err)
	return n
}

// nothingLeft waits until the daemon holds what it held before. A few connections may be kept for later, and 64 goroutines that
// wait for the next requests.
func (s *streams) nothingLeft(before held) {
	const few, waiting = 8, 64
	s.c.Eventually("the daemon has let go of everything", func() string {
		utilnet.CloseIdleConnectionsFor(s.conns)
		if now := s.held(); now.goroutines > before.goroutines+few+waiting || now.files > before.files+few {
			return fmt.Sprintf("%+v, and before %+v\n%s", now, before, s.c.OwnPage("/debug/pprof/goroutine?debug=1"))
		}
		return ""
	})
}

func expect(want, got string) string {
	if got != want {
		return fmt.Sprintf("%q, not %q", got, want)
	}
	return ""
}
