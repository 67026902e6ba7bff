package shutdown

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// manager is a login manager that a test plays.
type manager struct {
	asked chan string
	held  chan [2]*os.File // each lock: the manager's end, and the one that it gives away
}

// Inhibit is the method of that name.
func (m *manager) Inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	m.asked <- what + " " + mode
	m.held <- [2]*os.File{r, w}
	return dbus.UnixFD(w.Fd()), nil
}

// bus starts a message bus of the test's own.
func bus(t *testing.T) string {
	daemon, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("there is no dbus-daemon here")
	}
	config := filepath.Join(t.TempDir(), "bus.conf")
	require.NoError(t, os.WriteFile(config, []byte(`<busconfig><type>session</type><listen>unix:tmpdir=`+t.TempDir()+`</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`), 0o600))
	cmd := exec.Command(daemon, "--config-file="+config, "--print-address=1", "--nofork")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(address)
}

func TestShutdownWaitsForPods(t *testing.T) {
	address := bus(t)
	m := &manager{asked: make(chan string, 4), held: make(chan [2]*os.File, 4)}
	conn, err := dbus.Connect(address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.Export(m, loginPath, loginManager))
	_, err = prop.Export(conn, loginPath, prop.Map{loginManager: {"InhibitDelayMaxUSec": {Value: uint64(5_000_000)}}})
	require.NoError(t, err)
	_, err = conn.RequestName(loginName, 0)
	require.NoError(t, err)

	ended, up := make(chan time.Duration), make(chan struct{})
	w := &Watcher{Address: address, Log: zap.NewNop(), Down: func(_ context.Context, limit time.Duration) { ended <- limit }, Up: func() { close(up) }}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	require.Equal(t, "shutdown delay", <-m.asked)
	ends := <-m.held
	lock := ends[0]
	// The watcher asks for the property after it has the lock; a signal sent now is not lost.
	require.NoError(t, conn.Emit(loginPath, loginManager+".PrepareForShutdown", true))
	require.NoError(t, lock.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = lock.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "the machine waits while pods end")
	require.Equal(t, 5*time.Second, <-ended)
	require.NoError(t, ends[1].Close())
	require.NoError(t, lock.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = lock.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "then it may go down")

	require.NoError(t, conn.Emit(loginPath, loginManager+".PrepareForShutdown", false))
	<-up
	require.Equal(t, "shutdown delay", <-m.asked, "a shutdown that was called off may come again")
	cancel()
	require.NoError(t, <-done)
}

func TestNoLoginManager(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.NoError(t, (&Watcher{Address: "unix:path=/nowhere/bus", Log: zap.NewNop()}).Run(ctx))
	require.NoError(t, (&Watcher{Address: bus(t), Log: zap.NewNop()}).Run(ctx))
}
