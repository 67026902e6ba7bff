package integration

import "karve.dev/karve/integration/cluster"

var kubectlReads = []cluster.Step{
	{Run: "kubectl run b --image=my-app && sleep 1 && kubectl run a --image=my-app --labels=x=y && kubectl wait --for=condition=Ready pod/a pod/b --timeout=60s"},
	{Run: "kubectl get pods", Want: `~^NAME +READY +STATUS +RESTARTS +AGE\na +1/1 +Running +0 +\d+s\nb +1/1 +Running +0 +\d+s\n$`},
	{Run: "kubectl get pods a -o wide", Want: `~^NAME +READY +STATUS +RESTARTS +AGE +IP +NODE +NOMINATED NODE +READINESS GATES\na +1/1 +Running +0 +\d+s +[\d.]+ +[\w.-]+ +<none> +<none>\n$`},
	{Run: "kubectl get pods -o name", Want: "pod/a\npod/b"},
	{Run: "kubectl get pods --show-labels --no-headers", Want: `~^a .* x=y\nb .* run=b\n$`},
	{Run: "kubectl get pods --sort-by=.metadata.creationTimestamp -o custom-columns=N:.metadata.name,I:.spec.containers[0].image", Want: "~^N +I\nb +my-app\na +my-app\n$"},
	{Run: `kubectl get pods -o jsonpath='{range .items[*]}{.metadata.name}={.status.phase};{end}'`, Want: "a=Running;b=Running;"},
	{Run: `kubectl get pods -o go-template='{{range .items}}{{.metadata.name}} {{end}}'`, Want: "a b "},
	{Run: "kubectl get pod a -o yaml", Want: `~^apiVersion: v1\nkind: Pod\nmetadata:\n  creationTimestamp: `},
	{Run: "kubectl get pod/a svc,cm -o name", Want: "error: there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'kubectl get resource/<resource_name>' instead of 'kubectl get resource resource/<resource_name>'", Fails: true},
	{Run: "kubectl get pods --field-selector=status.phase=Running,metadata.name!=a -o name", Want: "pod/b"},
	{Run: "kubectl get pods --field-selector=spec.nothing=1", Want: `Error from server (BadRequest): Unable to find "/v1, Resource=pods" that match label selector "", field selector "spec.nothing=1": field label not supported: spec.nothing`, Fails: true},
	{Run: "kubectl get pods -A --chunk-size=1 -o name | grep -c -e pod/a$ -e pod/b$", Want: `~^[2-9]\n$`},
	{Run: "kubectl get pods nothing", Want: `Error from server (NotFound): pods "nothing" not found`, Fails: true},
	{Run: "kubectl get nothing", Want: `error: the server doesn't have a resource type "nothing"`, Fails: true},
	{Run: "kubectl get ds", Want: "No resources found in test-read namespace."},
	{Run: "kubectl get pod a --watch --output-watch-events --request-timeout=2s -o name", Want: "~^(ADDED +)?pod/a\n"},
	{Run: "kubectl get pod a --subresource=status -o name", Want: "pod/a"},
	{Run: "kubectl get cm kube-root-ca.crt --subresource=status", Want: "Error from server (NotFound): the server could not find the requested resource", Fails: true},
	{Run: "kubectl get --raw /api/v1/namespaces/test-read/nothing", Want: "Error from server (NotFound): the server could not find the requested resource", Fails: true},
	{Run: "kubectl describe pod a", Want: `~^Name: +a\nNamespace: +test-read\nPriority: +0\nService Account: +default\nNode: +.*Labels: +x=y\n.*Status: +Running\n.*QoS Class: +BestEffort\n.*default-scheduler +Successfully assigned test-read/a to .*Container started\n$`},
	{Run: "kubectl events --for pod/a", Want: `~LAST SEEN +TYPE +REASON +OBJECT +MESSAGE\n.*Normal +Scheduled +Pod/a .*Normal +Started +Pod/a +`},
	{Run: "kubectl get events --field-selector=involvedObject.name=a,reason=Started --no-headers", Want: `~Normal +Started +pod/a +Container started\n$`},
	{Run: "kubectl api-resources --api-group=apps", Want: `~deployments +deploy +apps/v1 +true +Deployment\n`},
	{Run: "kubectl api-resources --categories=all -o name", Want: `~^pods\nreplicationcontrollers\nservices\ndaemonsets.apps\ndeployments.apps\n`},
	{Run: "kubectl api-versions", Want: `~admissionregistration.k8s.io/v1\n.*storagemigration.k8s.io/v1\nv1\n$`},
	{Run: "kubectl explain pod.spec.containers.image", Want: `~^KIND:       Pod\nVERSION:    v1\n\nFIELD: image <string>\n`},
	{Run: "kubectl explain pod.spec.containers --recursive", Want: `~FIELD: containers <\[\]Container>\n.*  livenessProbe\t<Probe>\n    exec\t<ExecAction>\n      command\t<\[\]string>\n`},
	{Run: "kubectl explain pod.nothing", Want: `~error: field "nothing" does not exist\n$`, Fails: true},
	{Run: "kubectl cluster-info", Want: `~Kubernetes control plane.* is running at .*https://127.0.0.1:\d+`},
	{Run: "kubectl cluster-info dump --namespaces test-read --output-directory=dump >/dev/null && ls dump/test-read/a/logs.txt", Want: "dump/test-read/a/logs.txt"},
	{Run: "kubectl version", Want: `~Server Version: v1\.37\.`},
	{Run: "kubectl config view --minify -o jsonpath='{..namespace}'", Want: "test-read"},
	{Run: "kubectl config get-contexts -o name | wc -l", Want: `~^1\n$`},
	{Run: "kubectl completion bash | grep -c __start_kubectl", Want: `~^[1-9]`},
	{Run: "kubectl __complete get pods '' 2>/dev/null | grep -v :", Want: "a\nb"},
	{Run: "kubectl __complete logs a '' 2>/dev/null | grep -v :", Want: "a"},
}

var authFiles = map[string]string{
	"role.yaml": "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: rec, namespace: test-identity}\nrules: [{apiGroups: [\"\"], resources: [pods], verbs: [get]}]\n",
}

var kubectlIdentities = []cluster.Step{
	{Run: "kubectl auth whoami", Want: `~^ATTRIBUTE +VALUE\nUsername +kubernetes-admin\nGroups +\[system:masters system:authenticated\]\nExtra: authentication.kubernetes.io/credential-id +\[X509SHA256=[0-9a-f]{64}\]\n$`},
	{Run: "kubectl auth whoami --as=jane --as-group=devs", Want: "~Username +jane\nGroups +\\[devs system:authenticated\\]\n"},
	{Run: "kubectl auth can-i get pods", Want: "yes"},
	{Run: "kubectl auth can-i get pods --as=jane", Want: "no", Fails: true},
	{Run: "kubectl auth can-i get /healthz --as=jane", Want: "yes"},
	{Run: "kubectl auth reconcile -f role.yaml", Want: "~^role.rbac.authorization.k8s.io/rec reconciled\n"},
	{Run: "sed -i 's/\\[get\\]/[list]/' role.yaml; kubectl auth reconcile -f role.yaml", Want: `~^role.rbac.authorization.k8s.io/rec reconciled\n.*missing rules added:\n.*Verbs:\[list\]`},
	{Run: "kubectl create rolebinding rec --role=rec --user=jane && kubectl get pods --as=jane", Want: "~No resources found in test-identity namespace.\n$"},
	{Run: "kubectl auth can-i --list --as=jane", Want: `~pods +\[\] +\[\] +\[get list\]\n`},
	{Run: "kubectl get pods -n default --as=jane", Want: `Error from server (Forbidden): pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"`, Fails: true},
	{Run: "kubectl create rolebinding bad --role=none --user=joe >/dev/null; kubectl get pods --as=joe", Want: `Error from server (Forbidden): pods is forbidden: User "joe" cannot list resource "pods" in API group "" in the namespace "test-identity": rbac: RBAC: role.rbac.authorization.k8s.io "none" not found`, Fails: true},
	{Run: "kubectl --token=$(kubectl create token default) auth whoami", Want: `~Username +system:serviceaccount:test-identity:default\nUID +[0-9a-f-]{36}\nGroups +\[system:serviceaccounts system:serviceaccounts:test-identity system:authenticated\]\n`},
}

var kubectlDeletes = []cluster.Step{
	{Run: "kubectl create deployment web --image=my-app && kubectl rollout status deploy/web --timeout=60s"},
	{Run: "kubectl delete deploy web --cascade=orphan", Want: `~deployment.apps "web" deleted`},
	{Run: "kubectl get rs,pods -l app=web -o jsonpath='{.items[*].kind} {.items[0].metadata.ownerReferences}'", Want: "ReplicaSet Pod "},
	{Run: "kubectl create deployment web --image=my-app && kubectl rollout status deploy/web --timeout=60s && kubectl get pods -l app=web -o name | wc -l", Want: "~\n1\n$"},
	{Run: "kubectl delete deploy web --cascade=foreground", Want: `~deployment.apps "web" deleted`},
	{Run: "kubectl get rs,pods -l app=web --field-selector=status.phase!=Running -o name; kubectl wait --for=delete pods -l app=web --timeout=60s"},
	{Run: "kubectl delete deploy web", Want: `Error from server (NotFound): deployments.apps "web" not found`, Fails: true},
	{Run: "kubectl delete cm --all --dry-run=server", Want: `~configmap "kube-root-ca.crt" deleted.* \(server dry run\)`},
	{Run: "kubectl delete ns kube-system", Want: `Error from server (Forbidden): namespaces "kube-system" is forbidden: this namespace may not be deleted`, Fails: true},
}
