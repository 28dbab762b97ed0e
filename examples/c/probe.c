// SPDX-License-Identifier: MIT OR Apache-2.0
// Prints the faces of a picture or video, from a pad probe: ./probe FILE
//   cc probe.c -o probe $(pkg-config --cflags --libs gstreamer-video-1.0)
#include <gst/video/video.h>

// Pixels of the frame. Left and right are those of the picture, not the person's.
static const char *const FIELDS[] = {"left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y",
                                     "nose_x", "nose_y", "mouth_left_x", "mouth_left_y",
                                     "mouth_right_x", "mouth_right_y"};

static GstPadProbeReturn on_frame(GstPad *pad, GstPadProbeInfo *info, gpointer data) {
  GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER(info);
  GType regions = GST_VIDEO_REGION_OF_INTEREST_META_API_TYPE;
  gpointer state = NULL;
  GstMeta *meta;
  while ((meta = gst_buffer_iterate_meta_filtered(buffer, &state, regions))) {
    GstVideoRegionOfInterestMeta *face = (GstVideoRegionOfInterestMeta *)meta;
    if (face->roi_type != g_quark_from_string("face"))
      continue;
    g_print("face at (%u, %u, %u, %u)", face->x, face->y, face->w, face->h);
    // Scalers and converters drop these two.
    GstStructure *detection = gst_video_region_of_interest_meta_get_param(face, "detection");
    GstStructure *landmarks = gst_video_region_of_interest_meta_get_param(face, "landmarks");
    double value;
    if (detection && gst_structure_get_double(detection, "confidence", &value))
      g_print(", score %.3f", value);
    g_print("\n");
    for (guint i = 0; landmarks && i < G_N_ELEMENTS(FIELDS); i++)
      if (gst_structure_get_double(landmarks, FIELDS[i], &value))
        g_print("    %s %.1f\n", FIELDS[i], value);
  }
  return GST_PAD_PROBE_OK;
}

int main(int argc, char **argv) {
  gst_init(&argc, &argv);
  if (argc != 2) {
    g_printerr("Usage: probe FILE\n");
    return 2;
  }
  GError *error = NULL;
  GstElement *pipeline = gst_parse_launch(
      "filesrc name=file ! decodebin ! videoconvert ! retinafacedetect name=detect ! fakesink", &error);
  if (!pipeline) {
    g_printerr("%s\n", error->message);
    return 1;
  }
  g_object_set(gst_bin_get_by_name(GST_BIN(pipeline), "file"), "location", argv[1], NULL);
  GstPad *pad = gst_element_get_static_pad(gst_bin_get_by_name(GST_BIN(pipeline), "detect"), "src");
  gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, on_frame, NULL, NULL);
  gst_element_set_state(pipeline, GST_STATE_PLAYING);
  GstMessage *end = gst_bus_timed_pop_filtered(gst_element_get_bus(pipeline), GST_CLOCK_TIME_NONE,
                                               GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  if (GST_MESSAGE_TYPE(end) == GST_MESSAGE_ERROR) {
    gst_message_parse_error(end, &error, NULL);
    g_printerr("%s\n", error->message);
  }
  gst_element_set_state(pipeline, GST_STATE_NULL);
  return error != NULL;
}
