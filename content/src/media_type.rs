//! The media types of images, in OCI's and in Docker's spelling (row CMP-06).

/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, plain tar.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer, gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Docker manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker layer, plain tar.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker layer, gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker layer, zstd; no Docker release defines it, but containerd writes it.
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// Every pair of layer types that differ in spelling only.
const LAYERS: [(&str, &str); 3] = [
    (OCI_LAYER, DOCKER_LAYER),
    (OCI_LAYER_GZIP, DOCKER_LAYER_GZIP),
    (OCI_LAYER_ZSTD, DOCKER_LAYER_ZSTD),
];

/// Says whether `media_type` is an index of manifests.
#[must_use]
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_INDEX)
}

/// Says whether `media_type` is an image manifest.
#[must_use]
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

/// Says whether `media_type` is a layer of an image, foreign layers included.
#[must_use]
pub fn is_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.")
}

/// Returns the layer type in OCI's spelling; what is not a known layer type stays as it is.
#[must_use]
pub fn layer_to_oci(media_type: &str) -> &str {
    LAYERS
        .iter()
        .find(|(_, docker)| *docker == media_type)
        .map_or(media_type, |(oci, _)| oci)
}

/// Returns the layer type in Docker's spelling; what is not a known layer type stays as it is.
#[must_use]
pub fn layer_to_docker(media_type: &str) -> &str {
    LAYERS
        .iter()
        .find(|(oci, _)| *oci == media_type)
        .map_or(media_type, |(_, docker)| docker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_types_convert_both_ways() {
        for (oci, docker) in LAYERS {
            assert_eq!(layer_to_oci(docker), oci);
            assert_eq!(layer_to_docker(oci), docker);
            assert_eq!(layer_to_oci(oci), oci);
            assert!(is_layer(oci) && is_layer(docker));
        }
        assert_eq!(layer_to_docker("text/plain"), "text/plain");
    }
}
