package admission_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/api/apitest"
)

const restrictedDetail = `allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), ` +
	`unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), ` +
	`runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), ` +
	`seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")`

func secure(p *corev1.Pod) {
	yes, no := true, false
	p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
	p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

type protobuf interface{ Marshal() ([]byte, error) }

// written creates or updates an object and returns the warnings that came with the answer.
func written(t *testing.T, c *apitest.Cluster, apiVersion, kind string, obj client.Object) ([]string, error) {
	rpc := apiv1.NewResourceServiceClient(c.Conn(apitest.Admin))
	data, err := obj.(protobuf).Marshal()
	require.NoError(t, err)
	ref := &apiv1.ObjectRef{ApiVersion: apiVersion, Kind: kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}
	body := &apiv1.Object{ApiVersion: apiVersion, Kind: kind, Encoding: apiv1.Encoding_ENCODING_PROTOBUF, Data: data}
	var res *apiv1.Result
	if obj.GetResourceVersion() != "" {
		res, err = rpc.Update(t.Context(), &apiv1.UpdateRequest{Ref: ref, Object: body})
	} else {
		ref.Name = ""
		res, err = rpc.Create(t.Context(), &apiv1.CreateRequest{Ref: ref, Object: body})
	}
	if err != nil {
		return nil, apierr.FromGRPC(err)
	}
	return res.GetWarnings(), nil
}

func TestPodSecurityLevels(t *testing.T) {
	c := apitest.Start(t)
	c.Namespace("strict")
	cl, ctx := c.Client(apitest.Admin), t.Context()
	in := func(name string, change func(*corev1.Pod)) *corev1.Pod {
		p := newPod(name, change)
		p.Namespace = "strict"
		return p
	}
	require.NoError(t, cl.Create(ctx, in("before", nil)))
	require.NoError(t, cl.Create(ctx, in("before-too", nil)))

	ns := &corev1.Namespace{}
	require.NoError(t, cl.Get(ctx, ns, "", "strict"))
	ns.Labels["pod-security.kubernetes.io/enforce"] = "restrictive"
	_, err := written(t, c, "v1", "Namespace", ns)
	require.EqualError(t, err, `Namespace "strict" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "restrictive": must be one of privileged, baseline, restricted`)
	ns.Labels["pod-security.kubernetes.io/enforce"] = "restricted"
	warnings, err := written(t, c, "v1", "Namespace", ns)
	require.NoError(t, err)
	require.Equal(t, []string{
		`existing pods in namespace "strict" violate the new PodSecurity enforce level "restricted:latest"`,
		`before (and 1 other pod): allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile`,
	}, warnings)

	require.EqualError(t, cl.Create(ctx, in("p", nil)), `pods "p" is forbidden: violates PodSecurity "restricted:latest": `+restrictedDetail)
	require.EqualError(t, cl.Create(ctx, in("p", func(p *corev1.Pod) { secure(p); p.Spec.HostNetwork = true })),
		`pods "p" is forbidden: violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true)`)
	require.NoError(t, cl.Create(ctx, in("p", secure)))

	// What makes such pods is let in, with a warning.
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d", Namespace: "strict"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: newPod("", nil).Spec},
	}}
	warnings, err = written(t, c, "apps/v1", "Deployment", deployment)
	require.NoError(t, err)
	require.Equal(t, []string{`would violate PodSecurity "restricted:latest": ` + restrictedDetail}, warnings)
}

func TestPodSecurityWarnsAndKeepsToVersions(t *testing.T) {
	c := apitest.Start(t)
	cl, ctx := c.Client(apitest.Admin), t.Context()
	ns := &corev1.Namespace{}
	require.NoError(t, cl.Get(ctx, ns, "", "default"))
	for key, value := range map[string]string{"warn": "baseline", "warn-version": "v1.25", "enforce": "baseline", "enforce-version": "v1.0"} {
		ns.Labels["pod-security.kubernetes.io/"+key] = value
	}
	require.NoError(t, cl.Update(ctx, ns))
	probing := func(p *corev1.Pod) {
		yes := true
		p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{WindowsOptions: &corev1.WindowsSecurityContextOptions{HostProcess: &yes}}
		p.Spec.HostPID = true
	}
	_, err := written(t, c, "v1", "Pod", newPod("p", probing))
	require.ErrorContains(t, err, `violates PodSecurity "baseline:v1.0": host namespaces (hostPID=true), hostProcess`)
	warnings, err := written(t, c, "v1", "Pod", newPod("plain", nil))
	require.NoError(t, err)
	require.Empty(t, warnings)
}
