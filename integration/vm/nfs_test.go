package vm

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/osfs"
	"github.com/stretchr/testify/require"
	gonfs "github.com/willscott/go-nfs"
	"github.com/willscott/go-nfs/helpers"

	"karve.dev/karve/integration/cluster"
)

const nfsVolumes = `
apiVersion: v1
kind: PersistentVolume
metadata: {name: shared}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteMany]
  storageClassName: ""
  claimRef: {namespace: default, name: shared}
  mountOptions: [tcp, nolock, port=2049, mountport=2049, noatime]
  nfs: {server: localhost, path: /}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: shared}
spec: {accessModes: [ReadWriteMany], storageClassName: "", volumeName: shared, resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: locks}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadOnlyMany]
  storageClassName: ""
  claimRef: {namespace: default, name: locks}
  mountOptions: [tcp, nfsvers=3, port=2049, mountport=2049]
  nfs: {server: localhost, path: /}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: locks}
spec: {accessModes: [ReadOnlyMany], storageClassName: "", volumeName: locks, resources: {requests: {storage: 1Gi}}}
`

// mounting is a pod that mounts a claim, with its volume's fields and its command.
func (n *node) mounting(name, claim, readOnly, command string) {
	n.Apply(fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: %s}, spec: {terminationGracePeriodSeconds: 1, restartPolicy: OnFailure, volumes: [{name: v, persistentVolumeClaim: {claimName: %s, readOnly: %s}}],
  containers: [{name: c, image: my-app, imagePullPolicy: IfNotPresent, command: [sh, -c, %q], volumeMounts: [{name: v, mountPath: /data}]}]}}`, name, claim, readOnly, command))
}

// nfs keeps data on a server, which ends at last.
func (n *node) nfs(t *testing.T) {
	server := serveNFS(t)
	n.Apply(nfsVolumes)
	t.Run("what one pod has written the next one reads", func(t *testing.T) {
		n.mounting("writer", "shared", "false", "echo kept >/data/file && grep ' /data ' /proc/mounts && sleep 1000")
		n.ready("writer")
		require.Regexp(t, `^localhost:/ /data nfs rw,noatime,vers=3,`, n.Kubectl("logs", "writer"))
		n.Kubectl("delete", "pod", "writer")
		require.Equal(t, "0", mounted(t))
		n.mounting("reader", "shared", "true", "cat /data/file; echo more >/data/file; sleep 1000")
		n.ready("reader")
		require.Regexp(t, `^kept\n.*Read-only file system`, n.Kubectl("logs", "reader"))
		n.Kubectl("delete", "pod", "reader")
		require.Equal(t, "0", mounted(t))
	})
	t.Run("why a volume cannot be mounted", func(t *testing.T) {
		n.mounting("locks", "locks", "false", "sleep 1000")
		n.says("locks", "NFS 3 keeps locks through rpc.statd, which does not run here")
		n.Kubectl("delete", "pod", "locks")
	})
	t.Run("a server that ends", func(t *testing.T) {
		n.mounting("left", "shared", "false", "until grep -q crash /tmp/go 2>/dev/null; do sleep 0.2; done; exit 1")
		n.ready("left")
		server.stop()
		// The container ends and cannot be started again: the engine would wait for the server.
		n.in("left", "mkdir -p /tmp; echo crash >/tmp/go")
		n.says("left", "NFS server localhost does not answer")
		n.Kubectl("get", "--raw", "/api/v1/nodes/vm/proxy/stats/summary")
		n.Kubectl("get", "--raw", "/api/v1/nodes/vm/proxy/metrics")
		n.Kubectl("delete", "pod", "left", "--timeout="+cluster.Wait.String())
		require.Equal(t, "0", mounted(t))
		n.is("node/vm", `{.status.conditions[?(@.type=="Ready")].status}`, "True")
	})
}

// mounted counts the machine's NFS mounts.
func mounted(t *testing.T) string { return run(t, "grep -c ' nfs ' /proc/mounts || true") }

// server is an NFS server that can end as if its machine did.
type server struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func serveNFS(t *testing.T) *server {
	listener, err := net.Listen("tcp", "127.0.0.1:2049")
	require.NoError(t, err)
	s := &server{Listener: listener}
	handler := helpers.NewCachingHandler(helpers.NewNullAuthHandler(folder{osfs.New(t.TempDir())}), 1024)
	ended := make(chan error, 1)
	go func() { ended <- gonfs.Serve(s, handler) }()
	t.Cleanup(func() {
		s.stop()
		<-ended
	})
	return s
}

// Accept remembers connections, to cut them off.
func (s *server) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.conns = append(s.conns, conn)
	}
	return conn, err
}

func (s *server) stop() {
	_ = s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		_ = conn.Close()
	}
}

// folder is one whose files' modes and owners can be changed, too.
type folder struct{ billy.Filesystem }

var _ billy.Change = folder{}

func (f folder) path(name string) string { return f.Join(f.Root(), strings.TrimPrefix(name, "/")) }

func (f folder) Chmod(name string, mode os.FileMode) error { return os.Chmod(f.path(name), mode) }
func (f folder) Chown(name string, uid, gid int) error     { return os.Chown(f.path(name), uid, gid) }
func (f folder) Lchown(name string, uid, gid int) error    { return os.Lchown(f.path(name), uid, gid) }
func (f folder) Chtimes(name string, read, made time.Time) error {
	return os.Chtimes(f.path(name), read, made)
}
