package api

import (
	"context"
	"fmt"
	"maps"
	"net/netip"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"karve.dev/karve/internal/clusterdns"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/server"
)

// The names of the API's own Service, and of its port.
const (
	apiName     = "kubernetes"
	apiPortName = "https"
	apiPort     = 443
	defaultPort = 6443
)

// ensureService makes the Service by which pods find the API, and its endpoint.
func (s *Server) ensureService(ctx context.Context) error {
	if err := s.ensure(ctx, s.apiService()); err != nil {
		return fmt.Errorf("make the Service of the API: %w", err)
	}
	if !s.config.Advertise.IsValid() {
		return nil
	}
	slice, endpoints := apiEndpoints(s.config.Advertise)
	if err := s.keep(ctx, slice, func(old registry.Object) {
		stored := old.(*discoveryv1.EndpointSlice)
		stored.Endpoints, stored.Ports = slice.Endpoints, slice.Ports
	}); err != nil {
		return fmt.Errorf("make the EndpointSlice of the API: %w", err)
	}
	if err := s.keep(ctx, endpoints, func(old registry.Object) {
		stored := old.(*corev1.Endpoints)
		stored.Subsets = endpoints.Subsets
		// Without the label the addresses would be mirrored into a second slice.
		if stored.Labels == nil {
			stored.Labels = map[string]string{}
		}
		maps.Copy(stored.Labels, endpoints.Labels)
	}); err != nil {
		return fmt.Errorf("make the Endpoints of the API: %w", err)
	}
	return nil
}

// ensureDNS makes the Service by which people and charts find the cluster's DNS. Whoever brings a DNS of their own may have
// taken its address, under another name.
func (s *Server) ensureDNS(ctx context.Context) error {
	if !s.config.DNS.IsValid() {
		return nil
	}
	policy := corev1.IPFamilyPolicySingleStack
	port := func(name string, protocol corev1.Protocol) corev1.ServicePort {
		return corev1.ServicePort{Name: name, Port: clusterdns.Port, Protocol: protocol, TargetPort: intstr.FromInt32(clusterdns.Port)}
	}
	err := s.ensure(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: clusterdns.Service, Namespace: metav1.NamespaceSystem, Labels: map[string]string{
			"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS",
		}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: s.config.DNS.String(), IPFamilyPolicy: &policy,
			Ports: []corev1.ServicePort{port("dns", corev1.ProtocolUDP), port("dns-tcp", corev1.ProtocolTCP)},
		},
	})
	if apierrors.IsInvalid(err) {
		s.config.Log.Info("another Service has the address of the cluster's DNS", zap.Error(err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("make the Service of the cluster's DNS: %w", err)
	}
	return nil
}

// keep makes an object, or lets set bring the stored one up to date. It writes only what differs.
func (s *Server) keep(ctx context.Context, obj registry.Object, set func(old registry.Object)) error {
	err := s.resources.Insert(ctx, obj.DeepCopyObject().(registry.Object))
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	gvk, err := server.KindOf(obj)
	if err != nil {
		return err
	}
	return s.resources.Batch(ctx, gvk, []server.Change{{Namespace: obj.GetNamespace(), Name: obj.GetName(), Do: func(old registry.Object) (server.Outcome, error) {
		before := old.DeepCopyObject().(registry.Object)
		if set(old); equality.Semantic.DeepEqual(before, old) {
			old = before
		}
		return server.Outcome{Next: old}, nil
	}}})[0]
}

// apiService has the first address of the Service range.
func (s *Server) apiService() *corev1.Service {
	target := int32(defaultPort)
	if s.config.Advertise.IsValid() {
		target = int32(s.config.Advertise.Port())
	}
	policy := corev1.IPFamilyPolicySingleStack
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: apiName, Namespace: metav1.NamespaceDefault, Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: s.config.ServiceCIDRs[0].Masked().Addr().Next().String(), IPFamilyPolicy: &policy,
			Ports: []corev1.ServicePort{{Name: apiPortName, Port: apiPort, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(target)}},
		},
	}
}

func apiEndpoints(at netip.AddrPort) (*discoveryv1.EndpointSlice, *corev1.Endpoints) {
	name, port, protocol, ready := apiPortName, int32(at.Port()), corev1.ProtocolTCP, true
	family := discoveryv1.AddressTypeIPv4
	if at.Addr().Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: apiName, Namespace: metav1.NamespaceDefault, Labels: map[string]string{discoveryv1.LabelServiceName: apiName}},
		AddressType: family,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{at.Addr().String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	}
	endpoints := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Name: apiName, Namespace: metav1.NamespaceDefault, Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"}},
		Subsets: []corev1.EndpointSubset{{
			Addresses: []corev1.EndpointAddress{{IP: at.Addr().String()}},
			Ports:     []corev1.EndpointPort{{Name: name, Port: port, Protocol: protocol}},
		}},
	}
	return slice, endpoints
}
