package why

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// pullErrors say in plain words what registries and engines answer.
var pullErrors = []struct{ part, means string }{
	{"no such host", "the registry's name is not known: this machine is offline, or the name is wrong"},
	{"connection refused", "nothing answers at the registry's address"},
	{"i/o timeout", "the registry does not answer"},
	{"deadline exceeded", "the registry does not answer"},
	{"network is unreachable", "this machine has no way to the registry"},
	{"toomanyrequests", "the registry wants you to wait or to log in: too many pulls"},
	{"no matching manifest", "the registry has the image, but not for this machine's processor"},
	{"manifest unknown", "the registry has no such tag"},
	{"pull access denied", "the registry has no such image, or wants a login"},
	{"authentication required", "the registry wants a login"},
	{"unauthorized", "the registry wants a login"},
	{"denied", "the registry does not let you"},
	{"x509", "the registry's certificate is not trusted by the engine"},
	{"server gave HTTP response to HTTPS client", "the registry speaks plain HTTP: name it in the engine's insecure-registries"},
	{"not found", "the registry has no such image"},
}

// image is about images that are not there: the container's own, or those of volumes that it mounts.
func (o *one) image(message string) Finding {
	name, reason := o.spec.Image, o.status.State.Waiting.Reason
	_, cut, ok := strings.Cut(message, ": ErrImagePull: ")
	if !ok {
		cut = message
	}
	f := Finding{Severity: Broken, Because: lines(cut)}
	volume := o.volumeOf(message)
	if volume != nil {
		name = volume.Image.Reference
	}
	switch reason {
	case "InvalidImageName":
		f.Cause = fmt.Sprintf("InvalidImageName: %q is no name for an image", name)
		f.Because = []string{"names are lower case: [host/]name[:tag]"}
	case "ErrImageNeverPull":
		f.Cause = fmt.Sprintf("ErrImageNeverPull: image %s is not on the node's engine, and imagePullPolicy Never forbids to pull it", name)
		f.Because = nil
	default:
		f.Cause = fmt.Sprintf("ImagePullBackOff: image %s is not on the node's engine and cannot be pulled", name)
		for _, p := range pullErrors {
			if strings.Contains(message, p.part) {
				f.Because = append([]string{p.means + ":"}, f.Because...)
				break
			}
		}
	}
	if volume != nil {
		f.Cause += fmt.Sprintf(" (it is that of volume %s)", volume.Name)
		f.Do = o.volumeImage(name)
	} else {
		f.Do = o.otherImage(name)
	}
	if strings.Contains(message, "denied") || strings.Contains(message, "unauthorized") || strings.Contains(message, "authentication") {
		f.Do = append(f.Do, o.kubectl("create secret docker-registry login --docker-server=… --docker-username=… --docker-password=…")+"   # then name it in the pod's imagePullSecrets")
	}
	return f
}

// volumeOf returns the volume whose image an error names, unless it names the container's own.
func (o *one) volumeOf(message string) *corev1.Volume {
	if strings.Contains(message, strconv.Quote(o.spec.Image)) {
		return nil
	}
	for i := range o.pod.Spec.Volumes {
		if v := &o.pod.Spec.Volumes[i]; v.Image != nil && strings.Contains(message, strconv.Quote(v.Image.Reference)) {
			return v
		}
	}
	return nil
}

func (o *one) volumeImage(name string) []string {
	if similar := nearImages(name, o.w.images()); len(similar) > 0 {
		return []string{o.edit(fmt.Sprintf("did you mean %s? That is on the node's engine: correct the volume's image.reference", strings.Join(similar, " or ")))}
	}
	return buildHere(name)
}

func (o *one) otherImage(name string) []string {
	if similar := nearImages(name, o.w.images()); len(similar) > 0 {
		out := []string{fmt.Sprintf("did you mean %s? That is on the node's engine", strings.Join(similar, " or "))}
		if o.owner.Kind != "job" && o.owner.Kind != "cronjob" {
			out = append(out, o.kubectl("set image %s %s=%s", o.owner, o.spec.Name, similar[0]))
		}
		return out
	}
	return buildHere(name)
}

// buildHere is what helps when an image has no registry's host in its name.
func buildHere(name string) []string {
	if host, _, ok := strings.Cut(name, "/"); !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return []string{fmt.Sprintf("build it on this machine, and the pod starts by itself: docker build -t %s .", strings.ToLower(strings.ReplaceAll(name, " ", "-")))}
	}
	return nil
}
