package clients

import (
	"context"
	"log/slog"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/discovery"
	promkubernetes "github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
)

// TestPrometheusDiscovery finds targets of every role with Prometheus' own code.
func TestPrometheusDiscovery(t *testing.T) {
	c, err := kubernetes.NewForConfig(config(t))
	require.NoError(t, err)
	ns := namespace(t, c)
	serve(t, c, ns)
	for role, labels := range map[promkubernetes.Role]map[string]string{
		promkubernetes.RoleNode:    {"__meta_kubernetes_node_name": ".+", "__address__": `.+:\d+`},
		promkubernetes.RolePod:     {"__meta_kubernetes_pod_name": "app", "__meta_kubernetes_pod_ready": "true", "__address__": `[\d.]+:8080`, "__meta_kubernetes_pod_container_image": "my-app"},
		promkubernetes.RoleService: {"__meta_kubernetes_service_name": "app", "__meta_kubernetes_service_cluster_ip": `[\d.]+`, "__address__": `app\..+\.svc:80`},
		promkubernetes.RoleEndpointSlice: {"__meta_kubernetes_endpointslice_endpoint_conditions_ready": "true", "__address__": `[\d.]+:8080`,
			"__meta_kubernetes_pod_name": "app", "__meta_kubernetes_service_name": "app"},
		promkubernetes.RoleEndpoint: {"__meta_kubernetes_endpoint_ready": "true", "__address__": `[\d.]+:8080`, "__meta_kubernetes_pod_name": "app"},
		promkubernetes.RoleIngress:  {"__meta_kubernetes_ingress_host": "shop.example.com", "__meta_kubernetes_ingress_path": "/"},
	} {
		t.Run(string(role), func(t *testing.T) { discover(t, role, ns, labels) })
	}
}

// serve runs a pod behind a Service and an Ingress.
func serve(t *testing.T, c kubernetes.Interface, ns string) {
	labels := map[string]string{"app": "app"}
	_, err := c.CoreV1().Services(ns).Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "app", Labels: labels}, Spec: corev1.ServiceSpec{
		Selector: labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
	}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = c.CoreV1().Pods(ns).Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "app", Labels: labels}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "app", Image: "my-app", Ports: []corev1.ContainerPort{{ContainerPort: 8080}}}},
	}}, metav1.CreateOptions{})
	require.NoError(t, err)
	prefix := networkingv1.PathTypePrefix
	_, err = c.NetworkingV1().Ingresses(ns).Create(t.Context(), &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "front"}, Spec: networkingv1.IngressSpec{
		Rules: []networkingv1.IngressRule{{Host: "shop.example.com", IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
			Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &prefix, Backend: networkingv1.IngressBackend{
				Service: &networkingv1.IngressServiceBackend{Name: "app", Port: networkingv1.ServiceBackendPort{Number: 80}},
			}}},
		}}}},
	}}, metav1.CreateOptions{})
	require.NoError(t, err)
}

// discover waits until there is a target with labels that match all the patterns.
func discover(t *testing.T, role promkubernetes.Role, ns string, patterns map[string]string) {
	conf := promkubernetes.DefaultSDConfig
	conf.Role, conf.KubeConfig, conf.NamespaceDiscovery.Names = role, os.Getenv("KUBECONFIG"), []string{ns}
	registry := prometheus.NewRegistry()
	metrics := conf.NewDiscovererMetrics(registry, discovery.NewRefreshMetrics(registry))
	require.NoError(t, metrics.Register())
	d, err := conf.NewDiscoverer(discovery.DiscovererOptions{Logger: slog.New(slog.DiscardHandler), Metrics: metrics})
	require.NoError(t, err)
	ctx, stop := context.WithTimeout(t.Context(), wait)
	groups, ended := make(chan []*targetgroup.Group), make(chan struct{})
	go func() {
		defer close(ended)
		d.Run(ctx, groups)
	}()
	defer func() {
		stop()
		<-ended
	}()
	var last []map[string]string
	for {
		select {
		case found := <-groups:
			last = targets(found)
			for _, target := range last {
				if fits(target, patterns) {
					return
				}
			}
		case <-time.After(wait):
			t.Fatalf("no target fits: %v", last)
		}
	}
}

func targets(groups []*targetgroup.Group) (out []map[string]string) {
	for _, g := range groups {
		for _, one := range g.Targets {
			target := map[string]string{}
			for name, value := range g.Labels.Merge(one) {
				target[string(name)] = string(value)
			}
			out = append(out, target)
		}
	}
	return out
}

func fits(target, patterns map[string]string) bool {
	for name, pattern := range patterns {
		if !regexp.MustCompile("^(" + pattern + ")$").MatchString(target[name]) {
			return false
		}
	}
	return true
}
