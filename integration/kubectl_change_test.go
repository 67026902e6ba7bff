package integration

import "karve.dev/karve/integration/cluster"

var applyFiles = map[string]string{
	"kz/kustomization.yaml": `namePrefix: kz-
configMapGenerator:
- name: conf
  literals: [a=b]
resources: [d.yaml]
`,
	"kz/d.yaml": `apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: kz}}
  template:
    metadata: {labels: {app: kz}}
    spec:
      containers: [{name: a, image: my-app, envFrom: [{configMapRef: {name: conf}}]}]
`,
	"both.yaml":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, labels: {set: s}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: two, labels: {set: s}}\n",
	"one.yaml":   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, labels: {set: s}}\n",
	"other.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, labels: {set: other}}\n",
	"typo.yaml":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: typo}\ndate: {a: b}\n",
}

var kubectlApplies = []cluster.Step{
	{Run: "kubectl apply -k kz", Want: `~^configmap/kz-conf-\w+ created\ndeployment.apps/kz-app created\n$`},
	{Run: "kubectl apply -k kz", Want: `~^configmap/kz-conf-\w+ unchanged\ndeployment.apps/kz-app unchanged\n$`},
	{Run: "kubectl diff -k kz"},
	{Run: "sed -i s/a=b/a=c/ kz/kustomization.yaml; kubectl diff -k kz", Want: `~-            name: kz-conf-\w+\n\+            name: kz-conf-\w+\n.*\+data:\n\+  a: c\n`, Fails: true},
	{Run: "kubectl apply -k kz", Want: `~^configmap/kz-conf-\w+ created\ndeployment.apps/kz-app configured\n$`},
	{Run: "kubectl apply -f both.yaml --prune -l set=s", Want: `~configmap/one created\nconfigmap/two created\n`},
	{Run: "kubectl apply -f one.yaml --prune -l set=s --prune-allowlist=core/v1/ConfigMap", Want: "configmap/one unchanged\nconfigmap/two pruned"},
	{Run: "KUBECTL_APPLYSET=true kubectl apply -n test-apply -f both.yaml --prune --applyset=mine", Want: "configmap/one configured\nconfigmap/two created"},
	{Run: "KUBECTL_APPLYSET=true kubectl apply -n test-apply -f one.yaml --prune --applyset=mine", Want: "configmap/one unchanged\nconfigmap/two pruned"},
	{Run: "kubectl get secret mine -o jsonpath='{.metadata.annotations}'", Want: `~"applyset.kubernetes.io/contains-group-kinds":"ConfigMap"`},
	{Run: "kubectl apply -f typo.yaml", Want: `Error from server (BadRequest): error when creating "typo.yaml": ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "date"`, Fails: true},
	{Run: "kubectl apply -f both.yaml --server-side", Want: "configmap/one serverside-applied\nconfigmap/two serverside-applied"},
	{Run: "kubectl diff -f both.yaml --server-side"},
	{Run: "kubectl apply -f other.yaml --server-side --field-manager=other", Want: `~^error: Apply failed with \d conflicts?: .*conflict.* with "kubectl.*".*: \.metadata\.labels\.set`, Fails: true},
	{Run: "kubectl apply -f other.yaml --server-side --field-manager=other --force-conflicts", Want: "configmap/one serverside-applied"},
	{Run: "kubectl apply -f other.yaml --dry-run=server", Want: "~configmap/one (configured|unchanged) \\(server dry run\\)"},
	{Run: "kubectl create -f both.yaml", Want: "Error from server (AlreadyExists): error when creating \"both.yaml\": configmaps \"one\" already exists\nError from server (AlreadyExists): error when creating \"both.yaml\": configmaps \"two\" already exists", Fails: true},
	{Run: "kubectl replace -f both.yaml", Want: "configmap/one replaced\nconfigmap/two replaced"},
	{Run: "kubectl replace --force -f both.yaml", Want: `~configmap "one" deleted.*configmap/one replaced\nconfigmap/two replaced\n$`},
	{Run: "kubectl delete -f both.yaml", Want: `~configmap "one" deleted.*\nconfigmap "two" deleted`},
	{Run: "kubectl delete -f both.yaml --ignore-not-found"},
	{Run: "kubectl delete -f both.yaml", Want: `~^Error from server \(NotFound\): error when deleting "both.yaml": configmaps "one" not found\n`, Fails: true},
}

var kubectlChanges = []cluster.Step{
	{Run: "kubectl create deployment web --image=my-app --replicas=1", Want: "deployment.apps/web created"},
	{Run: `KUBE_EDITOR="sed -i s/replicas:.1/replicas:\ 0/" kubectl edit deploy web`, Want: "deployment.apps/web edited"},
	{Run: "KUBE_EDITOR=true kubectl edit deploy web", Want: "Edit cancelled, no changes made."},
	{Run: `KUBE_EDITOR="sed -i s/replicas:.0/replicas:\ -3/" kubectl edit deploy web`, Want: `~^error: deployments.apps "web" is invalid\n`, Fails: true},
	{Run: `kubectl patch deploy web -p '{"spec":{"replicas":2}}'`, Want: "deployment.apps/web patched"},
	{Run: `kubectl patch deploy web --type=merge -p '{"spec":{"replicas":2}}'`, Want: "deployment.apps/web patched (no change)"},
	{Run: `kubectl patch deploy web --type=json -p '[{"op":"replace","path":"/spec/replicas","value":0}]'`, Want: "deployment.apps/web patched"},
	{Run: `kubectl patch deploy web --type=json -p '[{"op":"test","path":"/spec/replicas","value":5}]'`, Want: "The request is invalid: the server rejected our request due to an error in our request", Fails: true},
	{Run: `kubectl patch deploy web -p '{"spec":{"template":{"spec":{"containers":[{"name":"my-app","env":[{"name":"A","value":"B"}]}]}}}}'`, Want: "deployment.apps/web patched"},
	{Run: "kubectl get deploy web -o jsonpath='{.spec.template.spec.containers}'", Want: `~^\[\{"env":\[\{"name":"A","value":"B"\}\],"image":"my-app",`},
	{Run: `kubectl patch deploy web --subresource=scale --type=merge -p '{"spec":{"replicas":1}}'`, Want: "scale.autoscaling/web patched"},
	{Run: `kubectl patch deploy web -p '{"spec":{"bogus":1}}'`, Want: "Warning: unknown field \"spec.bogus\"\ndeployment.apps/web patched (no change)"},
	{Run: `kubectl patch deploy web -p '[1]'`, Want: "Error from server (BadRequest): json: cannot unmarshal array into Go value of type map[string]interface {}", Fails: true},
	{Run: `kubectl patch deploy web --type=merge -p '{"spec":{"selector":{"matchLabels":{"app":"x"}}}}'`, Want: `~selector.*does not match template .labels.*field is immutable`, Fails: true},
	{Run: "kubectl scale deploy web --replicas=0", Want: "deployment.apps/web scaled"},
	{Run: "kubectl scale deploy web --replicas=3 --current-replicas=7", Want: "error: Expected replicas to be 7, was 0", Fails: true},
	{Run: "kubectl scale deploy web --replicas=-1", Want: "error: The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0", Fails: true},
	{Run: "kubectl get deploy web --subresource=scale", Want: `~^NAME +DESIRED +AVAILABLE +AGE\nweb +0 +\d +\d+s\n$`},
	{Run: "kubectl label deploy web tier=front", Want: "deployment.apps/web labeled"},
	{Run: "kubectl label deploy web tier=back", Want: "error: 'tier' already has a value (front), and --overwrite is false", Fails: true},
	{Run: "kubectl label deploy web tier=back --overwrite", Want: "deployment.apps/web labeled"},
	{Run: "kubectl get deploy -l 'tier in (back,middle)' -L tier --no-headers", Want: `~^web +0/0 +0 +0 +\d+s +back\n$`},
	{Run: "kubectl label deploy web tier-", Want: "deployment.apps/web unlabeled"},
	{Run: "kubectl label deploy web _bad=1", Want: `~^The Deployment "web" is invalid: metadata.labels: Invalid value: "_bad": name part must consist of alphanumeric characters`, Fails: true},
	{Run: "kubectl annotate deploy web note=x", Want: "deployment.apps/web annotated"},
	{Run: "kubectl annotate deploy web note-", Want: "deployment.apps/web annotated"},
	{Run: "kubectl expose deploy web --port=80 --target-port=8080", Want: "service/web exposed"},
	{Run: "kubectl expose deploy web --port=99999 --target-port=80 --name=bad", Want: `The Service "bad" is invalid: spec.ports[0].port: Invalid value: 99999: must be between 1 and 65535, inclusive`, Fails: true},
	{Run: "kubectl expose pod nothing --port=80", Want: `Error from server (NotFound): pods "nothing" not found`, Fails: true},
	{Run: "kubectl autoscale deploy web --min=1 --max=3 --cpu-percent=50 2>/dev/null || kubectl autoscale deploy web --min=1 --max=3 --cpu=50%", Want: "horizontalpodautoscaler.autoscaling/web autoscaled"},
	{Run: "kubectl get hpa", Want: `~^NAME +REFERENCE +TARGETS +MINPODS +MAXPODS +REPLICAS +AGE\nweb +Deployment/web +cpu: <unknown>/50% +1 +3 +0 +\d+s\n$`},
	{Run: "kubectl delete hpa web"},
	{Run: "kubectl set image deploy/web my-app=my-app:v2", Want: "deployment.apps/web image updated"},
	{Run: "kubectl set env deploy/web X=Y", Want: "deployment.apps/web env updated"},
	{Run: "kubectl set env deploy/web --list", Want: "# Deployment web, container my-app\nA=B\nX=Y"},
	{Run: "kubectl set resources deploy/web --limits=cpu=200m,memory=64Mi --requests=cpu=10m", Want: "deployment.apps/web resource requirements updated"},
	{Run: "kubectl set selector svc/web app=web,x=y", Want: "service/web selector updated"},
	{Run: "kubectl set serviceaccount deploy/web default", Want: "deployment.apps/web serviceaccount updated"},
	{Run: "kubectl create rolebinding rb --clusterrole=view --user=jane && kubectl set subject rolebinding rb --user=joe", Want: "~rolebinding.rbac.authorization.k8s.io/rb subjects updated"},
}

var kubectlRollouts = []cluster.Step{
	{Run: "kubectl create deployment web --image=my-app --replicas=2 && kubectl rollout status deploy/web --timeout=60s", Want: `~deployment "web" successfully rolled out\n$`},
	{Run: "kubectl annotate deploy web kubernetes.io/change-cause=first", Want: "deployment.apps/web annotated"},
	{Run: "kubectl set image deploy/web my-app=my-app:v2 && kubectl rollout status deploy/web --timeout=60s", Want: `~deployment "web" successfully rolled out\n$`},
	{Run: "kubectl rollout history deploy/web", Want: `~^deployment.apps/web \nREVISION  CHANGE-CAUSE\n1         first\n2         first\n`},
	{Run: "kubectl rollout history deploy/web --revision=2", Want: `~deployment.apps/web with revision #2\nPod Template:\n  Labels:\tapp=web\n\tpod-template-hash=\w+\n.*Image:\tmy-app:v2`},
	{Run: "kubectl rollout undo deploy/web && kubectl rollout status deploy/web --timeout=60s", Want: `~^deployment.apps/web rolled back\n.*successfully rolled out\n$`},
	{Run: "kubectl rollout undo deploy/web --to-revision=99", Want: "error: unable to find specified revision 99 in history", Fails: true},
	{Run: "kubectl rollout pause deploy/web", Want: "deployment.apps/web paused"},
	{Run: "kubectl rollout pause deploy/web", Want: "error: deployments.apps \"web\" is already paused", Fails: true},
	{Run: "kubectl rollout restart deploy/web", Want: `error: deployments.apps "web" can't restart paused deployment (run rollout resume first)`, Fails: true},
	{Run: "kubectl set image deploy/web my-app=my-app:v2", Want: "deployment.apps/web image updated"},
	{Run: "kubectl rollout status deploy/web --timeout=1s", Want: "Waiting for deployment \"web\" rollout to finish: 0 out of 2 new replicas have been updated...\nerror: timed out waiting for the condition", Fails: true},
	{Run: "kubectl rollout resume deploy/web && kubectl rollout status deploy/web --timeout=60s", Want: `~^deployment.apps/web resumed\n.*successfully rolled out\n$`},
	{Run: "kubectl expose deploy web --port=80 --target-port=8080 && kubectl wait --for=jsonpath='{.endpoints[1].conditions.ready}'=true endpointslice -l kubernetes.io/service-name=web --timeout=60s", Want: "~condition met"},
	{Run: "kubectl get endpointslice -l kubernetes.io/service-name=web", Want: `~^NAME +ADDRESSTYPE +PORTS +ENDPOINTS +AGE\nweb-\w{5} +IPv4 +8080 +[\d.]+,[\d.]+ +\d+s\n$`},
	{Run: "kubectl rollout restart deploy/web && kubectl rollout status deploy/web --timeout=60s", Want: `~^deployment.apps/web restarted\n.*successfully rolled out\n$`},
	{Run: "kubectl scale deploy web --replicas=0 && kubectl wait --for=delete pod -l app=web --timeout=60s && for i in $(seq 100); do out=$(kubectl get endpointslice -l kubernetes.io/service-name=web --no-headers); grep -q unset.*unset <<<$out && break; sleep 0.1; done; echo \"$out\"", Want: `~web-\w{5} +IPv4 +<unset> +<unset> +\d+s\n$`},
}
