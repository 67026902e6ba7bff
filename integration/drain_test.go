package integration

import (
	"testing"

	"karve.dev/karve/integration/cluster"
)

const drained = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: my-app, imagePullPolicy: IfNotPresent}]
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 0, selector: {matchLabels: {app: web}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere}
spec:
  selector: {matchLabels: {app: everywhere}}
  template:
    metadata: {labels: {app: everywhere}}
    spec: {containers: [{name: c, image: my-app, imagePullPolicy: IfNotPresent}]}
`

const bare = `
apiVersion: v1
kind: Pod
metadata: {name: bare}
spec:
  terminationGracePeriodSeconds: 1
  nodeName: NODE
  containers: [{name: c, image: my-app, imagePullPolicy: IfNotPresent, volumeMounts: [{name: v, mountPath: /v}]}]
  volumes: [{name: v, emptyDir: {}}]
`

var drains = []cluster.Step{
	{Run: "kubectl apply -f pods.yaml; kubectl rollout status deploy/web --timeout=60s; kubectl rollout status ds/everywhere --timeout=60s", Want: `~daemon set "everywhere" successfully rolled out\n$`},
	{Run: "kubectl get pods -l app=web -o jsonpath='{.items[0].spec.nodeName}' >node; sed s/NODE/$(cat node)/ bare.yaml | kubectl apply -f - && kubectl wait --for=condition=Ready pod/bare --timeout=60s", Want: "~pod/bare condition met\n$"},
	{Run: "kubectl cordon $(cat node); kubectl cordon $(cat node) | cut -d' ' -f2-; kubectl get node $(cat node) --no-headers", Want: "~ cordoned\nalready cordoned\n.* Ready,SchedulingDisabled "},
	{Run: "kubectl drain $(cat node)", Want: `~cannot delete DaemonSet-managed Pods \(use --ignore-daemonsets to ignore\): test-drain/everywhere-\w+\n`, Fails: true},
	{Run: "kubectl drain $(cat node) --ignore-daemonsets --delete-emptydir-data", Want: `~Pods that declare no controller \(use --force to override\): test-drain/bare\n`, Fails: true},
	{Run: "kubectl drain $(cat node) --ignore-daemonsets --force", Want: `~cannot delete Pods with local storage \(use --delete-emptydir-data to override\): test-drain/bare`, Fails: true},
	{Run: "kubectl drain $(cat node) --ignore-daemonsets --force --delete-emptydir-data --timeout=3s", Want: `~error when evicting pods/"web-[\w-]+" -n "test-drain" \(will retry after 5s\): Cannot evict pod as it would violate the pod's disruption budget.*pod/bare evicted\n.*global timeout reached: 3s`, Fails: true},
	{Run: "kubectl delete pdb web >/dev/null; kubectl drain $(cat node) --ignore-daemonsets", Want: `~pod/web-[\w-]+ evicted\nnode/[\w-]+ drained\n$`},
	{Run: "kubectl get pods --no-headers --field-selector spec.nodeName=$(cat node) -o custom-columns=:metadata.name", Want: `~^everywhere-\w+\n$`},
	{Run: "kubectl uncordon $(cat node); kubectl uncordon $(cat node); kubectl get node $(cat node) --no-headers", Want: `~ uncordoned\n.* already uncordoned\n.* Ready `},
}

// TestDrain takes a node out of service as an administrator does who is told, step by step, what stands in the way.
func TestDrain(t *testing.T) {
	c := cluster.Start(t, "--nodes=3")
	c.Shell(t, "test-drain", map[string]string{"pods.yaml": drained, "bare.yaml": bare}).Do(drains...)
}
