package integration

import (
	"testing"

	"karve.dev/karve/integration/cluster"
)

// kubectlGroups are the groups of TestKubectl's everyday commands, each in a namespace of its own.
var kubectlGroups = map[string]struct {
	files map[string]string
	steps []cluster.Step
}{
	"create":   {createFiles, kubectlCreates},
	"apply":    {applyFiles, kubectlApplies},
	"change":   {nil, kubectlChanges},
	"rollout":  {nil, kubectlRollouts},
	"run":      {map[string]string{"f.txt": "hello", "dir/a": "1", "dir/sub/b": "2"}, kubectlRuns},
	"read":     {nil, kubectlReads},
	"identity": {authFiles, kubectlIdentities},
	"delete":   {nil, kubectlDeletes},
}

// TestKubectl runs kubectl's everyday commands, as its users do, and compares what they print with what Kubernetes 1.37 prints.
func TestKubectl(t *testing.T) {
	c := cluster.Start(t)
	for name, group := range kubectlGroups {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.Shell(t, "test-"+name, group.files).Do(group.steps...)
		})
	}
}

var createFiles = map[string]string{"sts.yaml": `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: s}
spec:
  serviceName: s
  replicas: 0
  selector: {matchLabels: {a: b}}
  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: my-app}]}}
  volumeClaimTemplates: [{metadata: {name: d}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]
`}

var kubectlCreates = []cluster.Step{
	{Run: "kubectl create -f sts.yaml", Want: "statefulset.apps/s created"},
	{Run: "kubectl get sts s -o jsonpath='{.spec.volumeClaimTemplates}'", Want: `[{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"d"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}},"volumeMode":"Filesystem"},"status":{"phase":"Pending"}}]`},
	{Run: "kubectl create deployment web --image=my-app --replicas=2 --port=8080", Want: "deployment.apps/web created"},
	{Run: "kubectl create deployment web --image=my-app", Want: `error: failed to create deployment: deployments.apps "web" already exists`, Fails: true},
	{Run: "kubectl create configmap cm --from-literal=a=b --from-file=/etc/hostname", Want: "configmap/cm created"},
	{Run: "kubectl create secret generic sec --from-literal=p=q", Want: "secret/sec created"},
	{Run: "openssl req -x509 -newkey rsa:2048 -nodes -keyout t.key -out t.crt -days 1 -subj /CN=x 2>/dev/null && kubectl create secret tls tls --cert=t.crt --key=t.key", Want: "secret/tls created"},
	{Run: "kubectl create secret docker-registry reg --docker-username=u --docker-password=p --docker-server=r.example", Want: "secret/reg created"},
	{Run: "kubectl create cronjob cj --image=my-app --schedule='0 0 1 1 *' -- /bin/true", Want: "cronjob.batch/cj created"},
	{Run: "kubectl create job j1 --from=cronjob/cj", Want: "job.batch/j1 created"},
	{Run: "kubectl create job j2 --image=my-app -- /bin/true", Want: "job.batch/j2 created"},
	{Run: "kubectl create role r --verb=get,list --resource=pods,deployments.apps,pods/log", Want: "role.rbac.authorization.k8s.io/r created"},
	{Run: "kubectl create rolebinding rb --role=r --serviceaccount=test-create:sa", Want: "rolebinding.rbac.authorization.k8s.io/rb created"},
	{Run: "kubectl create clusterrole test-create --verb=get --resource=nodes", Want: "clusterrole.rbac.authorization.k8s.io/test-create created"},
	{Run: "kubectl create clusterrolebinding test-create --clusterrole=test-create --user=creator", Want: "clusterrolebinding.rbac.authorization.k8s.io/test-create created"},
	{Run: "kubectl create quota q --hard=pods=50,configmaps=100", Want: "resourcequota/q created"},
	{Run: "kubectl create quota bad --hard=pods=-1", Want: `error: failed to create quota: ResourceQuota "bad" is invalid: spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0`, Fails: true},
	{Run: "kubectl create serviceaccount sa", Want: "serviceaccount/sa created"},
	{Run: "kubectl create token sa --duration=10m", Want: `~^eyJ[\w-]+\.[\w-]+\.[\w-]+\n?$`},
	{Run: "kubectl create token sa --duration=1s", Want: `error: failed to create token: TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes`, Fails: true},
	{Run: "kubectl create token nobody", Want: `error: failed to create token: serviceaccounts "nobody" not found`, Fails: true},
	{Run: "kubectl create ingress ing --rule='a.example.com/x*=web:8080' --class=none", Want: "ingress.networking.k8s.io/ing created"},
	{Run: "kubectl create poddisruptionbudget pdb --selector=app=web --min-available=1", Want: "poddisruptionbudget.policy/pdb created"},
	{Run: "kubectl create priorityclass test-create --value=100 --description=d", Want: "priorityclass.scheduling.k8s.io/test-create created"},
	{Run: "kubectl create service clusterip s1 --tcp=80:8080", Want: "service/s1 created"},
	{Run: "kubectl create service nodeport s2 --tcp=80:8080", Want: "service/s2 created"},
	{Run: "kubectl create service externalname s4 --external-name=example.com", Want: "service/s4 created"},
	{Run: "kubectl create namespace Bad_Name", Want: `~^The Namespace "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 label must`, Fails: true},
	{Run: "kubectl wait --for=condition=Available deploy/web --timeout=60s", Want: "deployment.apps/web condition met"},
	{Run: "kubectl wait --for=condition=Complete job/j1 job/j2 --timeout=60s", Want: "job.batch/j1 condition met\njob.batch/j2 condition met"},
	{Run: "kubectl get deploy", Want: `~^NAME +READY +UP-TO-DATE +AVAILABLE +AGE\nweb +2/2 +2 +2 +\d+s\n$`},
	{Run: "kubectl get job j2", Want: `~^NAME +STATUS +COMPLETIONS +DURATION +AGE\nj2 +Complete +1/1 +\d+s +\d+s\n$`},
	{Run: "kubectl get cronjob", Want: `~^NAME +SCHEDULE +TIMEZONE +SUSPEND +ACTIVE +LAST SCHEDULE +AGE\ncj +0 0 1 1 \* +<none> +False +0 +<none> +\d+s\n$`},
	{Run: "kubectl get secrets", Want: `~^NAME +TYPE +DATA +AGE\nreg +kubernetes.io/dockerconfigjson +1 +\d+s\nsec +Opaque +1 +\d+s\ntls +kubernetes.io/tls +2 +\d+s\n$`},
	{Run: "kubectl get priorityclass test-create", Want: `~^NAME +VALUE +GLOBAL-DEFAULT +AGE +PREEMPTIONPOLICY\ntest-create +100 +false +\d+s +PreemptLowerPriority\n$`},
	{Run: "kubectl get sa sa", Want: `~^NAME +AGE\nsa +\d+s\n$`},
	{Run: "kubectl get pdb", Want: `~^NAME +MIN AVAILABLE +MAX UNAVAILABLE +ALLOWED DISRUPTIONS +AGE\npdb +1 +N/A +1 +\d+s\n$`},
	{Run: "kubectl get svc", Want: `~s1 +ClusterIP +[\d.]+ +<none> +80/TCP .*s2 +NodePort +[\d.]+ +<none> +80:\d+/TCP .*s4 +ExternalName +<none> +example.com +<none>`},
	{Run: "kubectl describe ingress ing", Want: `~a.example.com +\n +/x +web:8080 \(<error: services "web" not found>\)`},
	{Run: "kubectl describe job j2", Want: `~Pods Statuses: +0 Active \(0 Ready\) / 1 Succeeded / 0 Failed.*job-controller +Created pod: j2-\w{5}\n.*job-controller +Job completed`},
}
