//! Makes small images.

use std::fs;
use std::path::Path;

use lamina_content::Descriptor;
use lamina_content::Index;
use lamina_content::Manifest;
use lamina_content::media_type;
use lamina_content::to_go_json;
use lamina_types::Digest;
use lamina_types::Platform;

/// Blobs and the descriptor of the one that names the image.
pub(crate) struct Image {
    pub(crate) root: Descriptor,
    pub(crate) blobs: Vec<Blob>,
}

/// Content and what it is.
#[derive(Clone)]
pub(crate) struct Blob {
    pub(crate) media_type: &'static str,
    pub(crate) bytes: Vec<u8>,
}

impl Blob {
    const fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        Self { media_type, bytes }
    }

    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor::of(self.media_type, &self.bytes)
    }
}

/// A plain tar with these files.
pub(crate) fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content.as_bytes())
            .expect("appended");
    }
    tar.into_inner().expect("written")
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    to_go_json(value).expect("json")
}

/// An image of `layers`, whose config claims `diff_ids`.
pub(crate) fn image_claiming(layers: &[Vec<u8>], diff_ids: &[Digest]) -> Image {
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["A=b"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = config.to_string().into_bytes();
    let config = Blob::new(media_type::OCI_CONFIG, config);
    let mut blobs: Vec<Blob> = layers
        .iter()
        .map(|layer| Blob::new(media_type::OCI_LAYER, layer.clone()))
        .collect();
    let manifest = Blob::new(
        media_type::OCI_MANIFEST,
        json(&Manifest::new(
            media_type::OCI_MANIFEST,
            config.descriptor(),
            blobs.iter().map(Blob::descriptor).collect(),
        )),
    );
    let root = manifest.descriptor();
    blobs.extend([config, manifest]);
    Image { root, blobs }
}

pub(crate) fn image(layers: &[Vec<u8>]) -> Image {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    image_claiming(layers, &diff_ids)
}

/// An index of images by platform.
pub(crate) fn index(images: Vec<(&str, Image)>) -> Image {
    let mut manifests = Vec::new();
    let mut blobs = Vec::new();
    for (platform, image) in images {
        let mut descriptor = image.root;
        descriptor.platform = Some(platform.parse::<Platform>().expect(platform));
        manifests.push(descriptor);
        blobs.extend(image.blobs);
    }
    let index = json(&Index::new(media_type::OCI_INDEX, manifests));
    let index = Blob::new(media_type::OCI_INDEX, index);
    let root = index.descriptor();
    blobs.push(index);
    Image { root, blobs }
}

impl Image {
    /// Writes an OCI layout that calls the image `latest`.
    pub(crate) fn write_layout(&self, dir: &Path) {
        fs::create_dir_all(dir.join("blobs/sha256")).expect("made");
        for blob in &self.blobs {
            let path = dir
                .join("blobs/sha256")
                .join(blob.descriptor().digest.hex());
            fs::write(path, &blob.bytes).expect("written");
        }
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
        let mut root = self.root.clone();
        let name = "org.opencontainers.image.ref.name".to_owned();
        root.annotations.insert(name, "latest".to_owned());
        let index = json(&Index::new(media_type::OCI_INDEX, vec![root]));
        fs::write(dir.join("index.json"), index).expect("written");
    }

    /// Name of the layout `base` that holds it, pinned.
    pub(crate) fn identifier(&self) -> String {
        format!("oci-layout://base@{}", self.root.digest)
    }
}
