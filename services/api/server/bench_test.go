package server_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api"
	"karve.dev/karve/services/api/apitest"
	"karve.dev/karve/services/api/store/etcdstore"
)

// newBenchWorld is a world over the memory store or, with KARVE_BENCH_STORE=etcd, over embedded etcd.
func newBenchWorld(b *testing.B) *world {
	if os.Getenv("KARVE_BENCH_STORE") != "etcd" {
		return newWorld(b)
	}
	s, err := etcdstore.Open(b.Context(), etcdstore.Config{DataDir: b.TempDir()})
	require.NoError(b, err)
	b.Cleanup(func() { _ = s.Close() })
	c := apitest.Start(b, func(c *api.Config) { c.Store = s })
	return &world{c, c.Client(apitest.Admin), apiv1.NewResourceServiceClient(c.Conn(apitest.Admin)), b.Context()}
}

// podJSON is a pod of about 1 KiB, as a client posts it.
func podJSON(name string) []byte {
	return []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"` + name + `","namespace":"default","labels":{"app":"bench","tier":"backend","release":"stable"},` +
		`"annotations":{"example.com/checksum":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}},` +
		`"spec":{"containers":[{"name":"app","image":"registry.example.com/team/app:v1.2.3","command":["/bin/app"],"args":["--port=8080","--verbose"],` +
		`"env":[{"name":"A","value":"one"},{"name":"B","value":"two"}],"ports":[{"containerPort":8080,"protocol":"TCP"}],` +
		`"resources":{"requests":{"cpu":"100m","memory":"64Mi"},"limits":{"cpu":"200m","memory":"128Mi"}},` +
		`"readinessProbe":{"httpGet":{"path":"/healthz","port":8080},"periodSeconds":5}}],"nodeSelector":{"disk":"ssd"}}}`)
}

func (w *world) post(ctx context.Context, name string) error {
	_, err := w.rpc.Create(ctx, &apiv1.CreateRequest{
		Ref: refTo("Pod", "", ""), Object: &apiv1.Object{Encoding: apiv1.Encoding_ENCODING_JSON, Data: podJSON(name)},
		Options: &apiv1.WriteOptions{FieldValidation: "Strict"}, As: inJSON(apiv1.Form_FORM_OBJECT),
	})
	return err
}

func (w *world) fill(b *testing.B, n int) {
	b.Helper()
	for i := range n {
		require.NoError(b, w.post(w.ctx, fmt.Sprintf("p-%d", i)))
	}
	require.NoError(b, w.Get(w.ctx, &corev1.Pod{}, "default", fmt.Sprintf("p-%d", n-1)))
}

func BenchmarkCreatePodJSON(b *testing.B) {
	w := newBenchWorld(b)
	var n atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := w.post(context.Background(), fmt.Sprintf("p-%d", n.Add(1))); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

var representations = map[string]*apiv1.Representation{
	"protobuf": {Encoding: apiv1.Encoding_ENCODING_PROTOBUF},
	"json":     {Encoding: apiv1.Encoding_ENCODING_JSON},
}

func BenchmarkGetPod(b *testing.B) {
	w := newBenchWorld(b)
	w.fill(b, 100)
	for name, as := range representations {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if _, err := w.rpc.Get(context.Background(), &apiv1.GetRequest{Ref: refTo("Pod", fmt.Sprintf("p-%d", i%100), ""), As: as}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkList10000Pods(b *testing.B) {
	w := newBenchWorld(b)
	w.fill(b, 10000)
	for name, as := range representations {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := w.rpc.List(w.ctx, &apiv1.ListRequest{Ref: refTo("Pod", "", ""), As: as})
				require.NoError(b, err)
			}
		})
	}
	b.Run("table", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := w.rpc.List(w.ctx, &apiv1.ListRequest{Ref: refTo("Pod", "", ""), As: inJSON(apiv1.Form_FORM_TABLE)})
			require.NoError(b, err)
		}
	})
	b.Run("by-label", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := w.rpc.List(w.ctx, &apiv1.ListRequest{Ref: refTo("Pod", "", ""), LabelSelector: "app=none", As: representations["json"]})
			require.NoError(b, err)
		}
	})
}

// BenchmarkWatch: one update is told to 200 watchers.
func BenchmarkWatch(b *testing.B) {
	for name, as := range representations {
		b.Run(name, func(b *testing.B) {
			w := newBenchWorld(b)
			w.fill(b, 1)
			ctx, cancel := context.WithCancel(w.ctx)
			defer cancel()
			const watchers = 200
			got := make(chan error, watchers)
			p := &corev1.Pod{}
			require.NoError(b, w.Get(ctx, p, "default", "p-0"))
			for range watchers {
				stream, err := w.rpc.Watch(ctx, &apiv1.WatchRequest{Ref: refTo("Pod", "", ""), ResourceVersion: p.ResourceVersion, As: as})
				require.NoError(b, err)
				go func() {
					for {
						res, err := stream.Recv()
						if err != nil {
							return
						}
						for range res.Events {
							got <- nil
						}
					}
				}()
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p.Labels["n"] = fmt.Sprint(i)
				require.NoError(b, w.Update(ctx, p))
				for range watchers {
					<-got
				}
			}
		})
	}
}
