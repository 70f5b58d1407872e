"use strict";
(() => {
{% include "data.js" %}

{% include "scales.js" %}

{% include "draw.js" %}

{% include "point.js" %}

{% include "controls.js" %}
})();
