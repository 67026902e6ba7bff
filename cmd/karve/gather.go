package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"karve.dev/karve/cmd/karve/internal/why"
	"karve.dev/karve/internal/client"
)

// gather reads what there is in a namespace, in all when it is empty, and the cluster's nodes and classes.
func gather(ctx context.Context, conn grpc.ClientConnInterface, namespace string) (*why.World, error) {
	c := client.New(conn, "karve")
	var (
		pods         corev1.PodList
		events       corev1.EventList
		nodes        corev1.NodeList
		namespaces   corev1.NamespaceList
		services     corev1.ServiceList
		slices       discoveryv1.EndpointSliceList
		claims       corev1.PersistentVolumeClaimList
		classes      storagev1.StorageClassList
		configMaps   corev1.ConfigMapList
		secrets      corev1.SecretList
		deployments  appsv1.DeploymentList
		replicaSets  appsv1.ReplicaSetList
		statefulSets appsv1.StatefulSetList
		daemonSets   appsv1.DaemonSetList
		jobs         batchv1.JobList
		cronJobs     batchv1.CronJobList
	)
	list := func(into ...runtime.Object) error {
		for _, l := range into {
			opts := client.ListOptions{Namespace: namespace}
			if l == runtime.Object(&nodes) || l == runtime.Object(&namespaces) || l == runtime.Object(&classes) {
				opts.Namespace = ""
			}
			if err := c.List(ctx, l, opts); err != nil {
				return fmt.Errorf("ask the API: %w", err)
			}
		}
		return nil
	}
	if err := list(&pods, &events, &nodes, &namespaces, &services, &slices, &claims, &classes, &deployments, &replicaSets, &statefulSets, &daemonSets, &jobs, &cronJobs); err != nil {
		return nil, err
	}
	if why.NeedsConfig(pods.Items) {
		if err := list(&configMaps, &secrets); err != nil {
			return nil, err
		}
	}
	return &why.World{
		Now: time.Now(), Pods: pods.Items, Events: events.Items, Nodes: nodes.Items, Namespaces: namespaces.Items, Services: services.Items, Slices: slices.Items,
		Claims: claims.Items, Classes: classes.Items, ConfigMaps: configMaps.Items, Secrets: secrets.Items, Deployments: deployments.Items,
		ReplicaSets: replicaSets.Items, StatefulSets: statefulSets.Items, DaemonSets: daemonSets.Items, Jobs: jobs.Items, CronJobs: cronJobs.Items,
	}, nil
}
