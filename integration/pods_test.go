package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"karve.dev/karve/integration/cluster"
)

// TestPods runs a pod for each thing that a pod may ask for (testdata/pods) and looks at it as a user does.
func TestPods(t *testing.T) {
	c := cluster.Start(t)
	makeAccounts(t, c)
	node := c.Kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
	for what, looks := range podLooks {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			raw, err := os.ReadFile(filepath.Join("testdata", "pods", what+".yaml"))
			require.NoError(t, err)
			manifest := strings.NewReplacer("NODE", node, "OUT", folder).Replace(string(raw))
			shell := c.Shell(t, what, map[string]string{"pods.yaml": manifest})
			shell.Do(cluster.Step{Run: "kubectl apply -f pods.yaml"})
			for _, l := range looks {
				if l.until != "" {
					shell.Do(cluster.Step{Run: "kubectl wait --timeout=60s pod/" + l.pod + " --for=" + l.until + " || ! kubectl describe pod " + l.pod})
				}
				shell.Do(cluster.Step{Run: strings.ReplaceAll(l.run, "OUT", folder), Want: l.want})
			}
		})
	}
}

// makeAccounts makes the image "accounts", which knows a user that it puts into a further group.
func makeAccounts(t *testing.T, c *cluster.Cluster) {
	dir := t.TempDir()
	id := c.Docker("create", "my-app")
	for file, content := range map[string]string{"passwd": "alice:x:1000:50:::/bin/sh\n", "group": "extra:x:50000:alice\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644))
		c.Docker("cp", filepath.Join(dir, file), id+":/etc/"+file)
	}
	c.Docker("commit", id, "accounts")
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "--force", "accounts").Run() })
	c.Docker("rm", id)
}

// look is a command, what it must print (as a Step's Want), and what is waited for before, as kubectl wait does.
type look struct{ pod, until, run, want string }

const (
	succeeded = "jsonpath='{.status.phase}'=Succeeded"
	failed    = "jsonpath='{.status.phase}'=Failed"
	isReady   = "condition=Ready"
	waitingAs = "jsonpath='{.status.containerStatuses[0].state.waiting.reason}'="
	backOff   = waitingAs + "CrashLoopBackOff"
	reason    = " -o jsonpath='{.status.reason}: {.status.message}'"
	message   = " -o jsonpath='{.status.containerStatuses[0].state.waiting.message}'"
)

var podLooks = map[string][]look{
	"containers": {
		{"ordered", succeeded, "kubectl logs ordered -c app; kubectl logs ordered -c sidecar", "first\nsidecar\nlast\ntold to stop"},
		{"init-fails", "jsonpath='{.status.initContainerStatuses[0].state.waiting.reason}'=CrashLoopBackOff", "kubectl get pod init-fails --no-headers; kubectl logs init-fails -c bad", `~^init-fails +0/1 +Init:CrashLoopBackOff +\d .*\nno database\n$`},
		{"init-fails-once", failed, "kubectl get pod init-fails-once --no-headers", `~^init-fails-once +0/1 +Init:Error +0 `},
		{"crashes", backOff, "kubectl describe pod crashes; kubectl logs crashes", `~Reason: +CrashLoopBackOff\n +Last State: +Terminated\n +Reason: +Error\n +Exit Code: +2\n.*Back-off restarting failed container app in pod crashes_containers.*\nabout to fail\n$`},
		{"together", isReady, "kubectl exec together -c looks -- ps; kubectl logs together -c looks", "~ /my-app\n.*hello from together, version 1\n"},
		{"together", "", "cat /var/log/containers/together_containers_web-*.log /var/log/pods/containers_together_*/web/0.log | grep -c 'listens on'", "2"},
		{"apart", isReady, "kubectl exec apart -c looks -- ps", `~^PID +USER +COMMAND\n +1 root +sleep 1000\n +\d+ root +ps\n$`},
		{"on-the-host", isReady, `kubectl exec on-the-host -- ps | grep -c "[k]arved run"; kubectl get pod on-the-host -o go-template='{{eq .status.hostIP .status.podIP}}'`, `~^[1-9]\d*\ntrue$`},
		{"each-its-own-policy", "jsonpath='{.status.containerStatuses[1].state.terminated.exitCode}'=1", "kubectl get pod each-its-own-policy -o jsonpath='{.status.phase}:{range .status.containerStatuses[*]} {.name} {.restartCount} {.state.terminated.exitCode};{end}'", "Running: app 0 ; by-rule 1 1; once 0 3;"},
		{"out-of-time", failed, "kubectl get pod out-of-time" + reason, "DeadlineExceeded: Pod was active on the node longer than the specified deadline"},
		{"last-words", failed, "kubectl get pod last-words -o jsonpath='{range .status.containerStatuses[*]}{.name}={.state.terminated.message};{end}'", "file=by file\n;log=by log\n;quiet=;"},
		{"eats", failed, "kubectl get pod eats -o jsonpath='{.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}'", "OOMKilled 137"},
		{"gated", "condition=ContainersReady", "kubectl get pod gated -o wide --no-headers", `~^gated +1/1 +Running .* 0/1\n$`},
		{"gated", "", `kubectl patch pod gated --subresource=status -p '{"status":{"conditions":[{"type":"example.org/listed","status":"True"}]}}'`, "pod/gated patched"},
		{"gated", isReady, "kubectl get pod gated -o wide --no-headers", "~ 1/1\n$"},
		{"no-such-command", failed, "kubectl get pod no-such-command -o jsonpath='{.status.containerStatuses[0].state.terminated}'", `~"exitCode":128,.*"message":".*/no/such/program.*no such file or directory.*","reason":"StartError"`},
	},
	"environment": {
		{"env", succeeded, "kubectl logs env", "hi you $(GREETING) $(NOTHING)\n/tmp\nV_2nd=odd\nV_ACCOUNT=default\nV_CPU=2\nV_KEY=blue\nV_LABEL=env\nV_MEMORY=64\nV_MILLICPU=100\nV_NAME=env\nV_NOTE=hello\nV_SECRET=anna\nV_color=blue\nV_user=anna"},
		{"named", isReady, "kubectl exec named -- sh -c 'busybox hostname; cat /etc/hosts /etc/resolv.conf'", `~^db-0\.named\.environment\.svc\.cluster\.local\n.*\d\tdb-0\.named\.environment\.svc\.cluster\.local\tdb-0\n.*192\.0\.2\.7\tseven\tsiete\n.*search environment\.svc\.cluster\.local svc\.cluster\.local cluster\.local.* example\.org\nnameserver .*\noptions ndots:2\n$`},
		{"named", "", "kubectl exec named -- nslookup db-0.named.environment.svc.cluster.local; kubectl get pod named -o jsonpath='{.status.podIP}'", `~Address: (10\.\d+\.\d+\.\d+)\n`},
		{"own-dns", isReady, "kubectl exec own-dns -- cat /etc/resolv.conf", "search example.org\nnameserver 192.0.2.53"},
		{"no-settings", waitingAs + "CreateContainerConfigError", "kubectl get pod no-settings" + message, `configmap "absent" not found`},
		{"no-key", waitingAs + "CreateContainerConfigError", "kubectl get pod no-key" + message, "couldn't find key absent in Secret environment/login"},
		{"no-key", "", "kubectl patch secret login -p '{\"stringData\":{\"absent\":\"here\"}}'", "secret/login patched"},
		{"no-key", isReady, "kubectl exec no-key -- sh -c 'echo $K'", "here"},
	},
	"security": {
		{"someone", failed, "kubectl logs someone", "~^1234\n77\n77 2000 4444\n2000 2777\nCapBnd:\t0000000000000400\nNoNewPrivs:\t1\nSeccomp:\t2\ntouch: /etc/x: Read-only file system\n$"},
		{"merged-groups", succeeded, "kubectl logs merged-groups", "3000 4000 50000"},
		{"strict-groups", succeeded, "kubectl logs strict-groups", "50 4000"},
		{"must-not-be-root", waitingAs + "CreateContainerConfigError", "kubectl get pod must-not-be-root" + message, `~^container has runAsNonRoot and image will run as root \(pod: "must-not-be-root_security\(.*\)", container: app\)$`},
		{"tuned", succeeded, "kubectl logs tuned", "80\n1"},
		{"tuned-too-far", failed, "kubectl get pod tuned-too-far" + reason, `SysctlForbidden: Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted`},
		{"no-profile", "jsonpath='{.status.containerStatuses[0].state.waiting.message}'", "kubectl get pod no-profile" + message, "~none.json: no such file or directory"},
		{"own-users", failed, "kubectl get pod own-users" + reason, "UserNamespacesNotSupported: Pod was rejected: can't set `spec.hostUsers: false`, runtime does not support user namespaces"},
		{"too-much", failed, "kubectl get pod too-much --no-headers", "~^too-much +0/1 +OutOfcpu +0 "},
	},
	"life": {
		{"hooked", isReady, "cat OUT/log; kubectl delete pod hooked; cat OUT/log", "~^started\npod \"hooked\" deleted.*\nstarted\nstopping\ntold\n$"},
		{"signalled", isReady, "kubectl delete pod signalled >/dev/null; cat OUT/signal", "usr1"},
		{"bad-hook", backOff, "kubectl describe pod bad-hook", `~FailedPostStartHook .*exited with 9.*no luck`},
		{"slow-starter", isReady, "kubectl get pod slow-starter --no-headers", "~^slow-starter +1/1 +Running +0 "},
		{"unhealthy", "jsonpath='{.status.containerStatuses[0].lastState.terminated}'", "kubectl describe pod unhealthy", `~Liveness probe failed: Get "http://.*:81/healthz": .*Container app failed liveness probe, will be restarted`},
		{"unready", "condition=Initialized", "kubectl get pod unready --no-headers; kubectl exec unready -- busybox touch /tmp/ready", `~^unready +0/1 +Running`},
		{"unready", isReady, "kubectl exec unready -- busybox rm /tmp/ready", ""},
		{"unready", "condition=Ready=false", "kubectl describe pod unready", "~Readiness probe failed: cat: can't open '/tmp/ready'"},
		{"speaks-no-grpc", "condition=Initialized", "kubectl wait --timeout=60s --for=jsonpath='{.reason}'=Unhealthy $(kubectl get events --field-selector involvedObject.name=speaks-no-grpc,reason=Unhealthy -o name | head -1); kubectl describe pod speaks-no-grpc", "~Readiness probe failed: "},
		{"never-pulls", waitingAs + "ErrImageNeverPull", "kubectl get pod never-pulls" + message, `Container image "no-such-image" is not present with pull policy of Never`},
		{"bad-name", waitingAs + "InvalidImageName", "kubectl get pod bad-name" + message, `~couldn't parse image name "My:App:bad": invalid reference format`},
		{"no-registry", waitingAs + "ImagePullBackOff", "kubectl describe pod no-registry", `~Failed to pull image "127.0.0.1:1/app:v1": .*connection refused`},
		{"sized", isReady, `kubectl patch pod sized --subresource=resize -p '{"spec":{"containers":[{"name":"app","resources":{"limits":{"memory":"96Mi"}}}]}}'`, "pod/sized patched"},
		{"sized", "jsonpath='{.status.containerStatuses[0].resources.limits.memory}'=96Mi", "kubectl get pod sized --no-headers", "~^sized +1/1 +Running +0 "},
	},
}
