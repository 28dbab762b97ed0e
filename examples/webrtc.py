# SPDX-License-Identifier: MIT OR Apache-2.0
"""Sends a video with its faces drawn to a browser by WebRTC: webrtc.py FILE-OR-URI [PORT]

Then open http://localhost:8080. One browser at a time: the next one begins anew. Needs webrtcbin, libnice's
elements and their Python bindings (Debian: gstreamer1.0-nice, gir1.2-gst-plugins-bad-1.0)."""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import Gst, GstSdp, GstWebRTC

PIPELINE = """uridecodebin uri="{}" caps=video/x-raw ! videoconvert ! retinafacedetect ! retinafaceoverlay ! videoconvert !
    identity sync=true ! queue ! vp8enc deadline=1 keyframe-max-dist=60 ! rtpvp8pay !
    application/x-rtp,media=video,encoding-name=VP8,payload=96 ! webrtcbin name=peer bundle-policy=max-bundle"""
PAGE = b"""<!doctype html><title>Faces</title><video autoplay muted playsinline controls></video><script>
const peer = new RTCPeerConnection();
peer.addTransceiver("video", {direction: "recvonly"});
peer.ontrack = event => document.querySelector("video").srcObject = event.streams[0];
peer.onicecandidate = async event => {
    if (event.candidate) return;  // The offer is sent when it has all of them.
    const answer = await fetch("/", {method: "POST", body: peer.localDescription.sdp});
    await peer.setRemoteDescription({type: "answer", sdp: await answer.text()});
};
peer.setLocalDescription();
</script>"""


def answer(pipeline, offer):
    """Negotiates with a browser: its offer, as SDP, and the answer to it with all candidates."""
    def ask(action, *arguments):
        promise = Gst.Promise.new()
        peer.emit(action, *arguments, promise)
        promise.wait()
        return promise.get_reply()

    peer = pipeline.get_by_name("peer")
    sdp = GstSdp.SDPMessage.new_from_text(offer)[1]
    ask("set-remote-description",
        GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.OFFER, sdp))
    created = ask("create-answer", None)  # To be kept: the answer belongs to it.
    ask("set-local-description", created.get_value("answer"))
    while peer.get_property("ice-gathering-state") != GstWebRTC.WebRTCICEGatheringState.COMPLETE:
        if error := pipeline.get_bus().timed_pop_filtered(Gst.SECOND // 20, Gst.MessageType.ERROR):
            raise error.parse_error()[0]
    return peer.get_property("local-description").sdp.as_text()


class Viewer(BaseHTTPRequestHandler):
    pipeline = None

    def do_GET(self):
        self.reply("text/html", PAGE)

    def do_POST(self):
        offer = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if Viewer.pipeline:
            Viewer.pipeline.set_state(Gst.State.NULL)
        Viewer.pipeline = Gst.parse_launch(PIPELINE.format(uri))
        Viewer.pipeline.set_state(Gst.State.PLAYING)
        self.reply("application/sdp", answer(Viewer.pipeline, offer).encode())

    def reply(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)


if len(sys.argv) < 2:
    sys.exit(__doc__)
Gst.init(None)
uri = sys.argv[1] if "://" in sys.argv[1] else Path(sys.argv[1]).resolve().as_uri()
HTTPServer(("localhost", int(sys.argv[2]) if len(sys.argv) > 2 else 8080), Viewer).serve_forever()
