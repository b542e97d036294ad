"""Packaging. `plugins/` is installed as the import package `fctfg_plugins`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
EXTRAS = {
    "mediapipe": ["mediapipe>=0.10.14"],
    "face-alignment": ["face-alignment>=1.4"],
    "insightface": ["insightface>=0.7.3", "onnxruntime>=1.17"],
    "keras": ["h5py>=3.8"],
    "speech": ["transformers>=5"],
}

setup(
    name="fctfg",
    version=re.search(r'__version__ = "(.+)"', (HERE / "fctfg" / "__init__.py").read_text())[1],
    description="Train and run talking faces made of interchangeable parts",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=[*find_packages(include=["fctfg", "fctfg.*"]), "fctfg_plugins",
              *(f"fctfg_plugins.{name}" for name in find_packages("plugins"))],
    package_dir={"fctfg_plugins": "plugins"},
    package_data={"fctfg": ["recipes/*.yaml", "assets/*"], "fctfg_plugins": ["*/README.md"]},
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.4",
        "torchvision>=0.19",
        "numpy>=1.26",
        "librosa>=0.10",
        "click>=8.1",
        "entrypoints>=0.4",
        "av>=15",
        "dlib-bin>=19.24.6",
        "face-recognition-models>=0.3",
        "pydantic>=2.7",
        "pyyaml>=6",
        "rich>=13.7",
        "safetensors>=0.4.3",
        "accelerate>=1.0",
        "tensorboard>=2.16",
        "pooch>=1.8",
        "lpips>=0.1.4",
        "scikit-image>=0.22",  # ships the portrait of `fctfg demo`
        "pillow>=10",
    ],
    extras_require={
        **EXTRAS,
        "all": sorted({requirement for extra in EXTRAS.values() for requirement in extra}),
        "test": ["pytest>=8", "pytest-benchmark>=4", *EXTRAS["keras"]],
    },
    entry_points={
        "console_scripts": ["fctfg = fctfg.cli:main"],
        "fctfg.visual_encoders": [
            "e4e = fctfg_plugins.psp:E4EEncoder",
            "lipgan = fctfg_plugins.lipgan:LipGANVisualEncoder",
            "psp = fctfg_plugins.psp:PSPEncoder",
            "psp-w = fctfg_plugins.psp:PSPWEncoder",
            "psp-w-plus = fctfg_plugins.psp:PSPWPlusEncoder",
            "speech2vid = fctfg_plugins.speech2vid:Speech2VidVisualEncoder",
            "tiny = fctfg_plugins.tiny:TinyVisualEncoder",
            "warp = fctfg_plugins.warp:WarpVisualEncoder",
            "wav2lip = fctfg_plugins.wav2lip:Wav2LipVisualEncoder",
        ],
        "fctfg.audio_encoders": [
            "hubert = fctfg_plugins.self_supervised:HubertAudioEncoder",
            "lipgan = fctfg_plugins.lipgan:LipGANAudioEncoder",
            "lipgan-mfcc = fctfg_plugins.lipgan:LipGANMFCCAudioEncoder",
            "loudness = fctfg_plugins.warp:LoudnessAudioEncoder",
            "speech2vid = fctfg_plugins.speech2vid:Speech2VidAudioEncoder",
            "syncnet = fctfg_plugins.syncnet:SyncNetAudioEncoder",
            "tiny = fctfg_plugins.tiny:TinyAudioEncoder",
            "wav2lip = fctfg_plugins.wav2lip:Wav2LipAudioEncoder",
            "wav2vec2 = fctfg_plugins.self_supervised:Wav2Vec2AudioEncoder",
        ],
        "fctfg.fusions": [
            "add = fctfg_plugins.tiny:AddFusion",
            "canonical-motion = fctfg_plugins.fc_tfg:CanonicalMotionFusion",
            "speech = fctfg_plugins.wav2lip:SpeechFusion",
            "speech2vid = fctfg_plugins.speech2vid:Speech2VidFusion",
            "warp = fctfg_plugins.warp:WarpFusion",
        ],
        "fctfg.decoders": [
            "lipgan = fctfg_plugins.lipgan:LipGANDecoder",
            "speech2vid = fctfg_plugins.speech2vid:Speech2VidDecoder",
            "tiny = fctfg_plugins.tiny:TinyDecoder",
            "warp = fctfg_plugins.warp:WarpDecoder",
            "wav2lip = fctfg_plugins.wav2lip:Wav2LipDecoder",
        ],
        "fctfg.losses": [
            "gan = fctfg_plugins.tiny:TinyGANLoss",
            "identity = fctfg_plugins.arcface:IdentityLoss",
            "l1 = fctfg_plugins.pixel:L1Loss",
            "lipgan-critic = fctfg_plugins.lipgan:LipGANCritic",
            "sync = fctfg_plugins.wav2lip:SyncLoss",
            "syncnet = fctfg_plugins.syncnet:SyncNetLoss",
            "visual-quality = fctfg_plugins.wav2lip:VisualQualityLoss",
        ],
        "fctfg.tasks": [
            "invert = fctfg.tasks:InvertTask",
            "observe = fctfg.tasks:ObserveTask",
            "refine = fctfg.tasks:RefineTask",
            "synthesise = fctfg.tasks:SynthesiseTask",
            "talk = fctfg.tasks:TalkTask",
        ],
        "fctfg.detectors": [
            "dlib-cnn = fctfg_plugins.dlib_faces:DlibCNNDetector",
            "dlib-hog = fctfg_plugins.dlib_faces:DlibHOGDetector",
        ],
        "fctfg.recipes": [
            "lipgan = fctfg.recipes:lipgan.yaml",
            "speech2vid = fctfg.recipes:speech2vid.yaml",
            "speech2vid-classic = fctfg.recipes:speech2vid_classic.yaml",
            "sync-expert = fctfg.recipes:sync_expert.yaml",
            "tiny = fctfg.recipes:tiny.yaml",
            "warp = fctfg.recipes:warp.yaml",
            "wav2lip = fctfg.recipes:wav2lip.yaml",
        ],
    },
)
