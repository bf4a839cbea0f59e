# A bundle as an image of its own, for the init container of k8s/components/bundle-image, which
# needs a shell and cp.
#   docker build -f docker/bundle.Dockerfile -t taskgraft/bundle:dev runs/movielens/bundle
ARG BASE=busybox:1.37-musl
FROM ${BASE}
COPY . /bundle
USER 10001:10001
